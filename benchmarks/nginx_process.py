"""An nginx of one's own with the configuration of deploy/nginx, for benchmarks and tests."""

import shutil
from collections.abc import Sequence
from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy" / "nginx"
EXAMPLES = ("127.0.0.1:8001", "127.0.0.1:8002")  # the servers in machine.conf
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program() -> str | None:
    """Return the path of nginx, None if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def command(
    nginx: str, folder: Path, port: int, servers: Sequence[str], location: str, workers: int = 1
) -> list[str]:
    """Write files to `folder`, which nginx needs no rights beyond, and return its command.

    It listens on a port of 127.0.0.1, in front of two `servers`, each an address and port. The
    block `location` may include `dreamserve/proxy.conf`, a copy of deploy/nginx/proxy.conf in
    `folder`, which the caller may change.
    """
    shutil.copytree(DEPLOY, folder / "dreamserve")
    text = (DEPLOY / "machine.conf").read_text().replace("/etc/nginx/", f"{folder}/")
    replaced = {"listen 80 default_server;": f"listen 127.0.0.1:{port}; {location}"}
    replaced |= dict(zip(EXAMPLES, servers, strict=True))
    for example, value in replaced.items():
        assert text.count(example) == 1, example
        text = text.replace(example, value)
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes {workers}; pid {folder}/pid; error_log {folder}/error.log;"
        f" events {{}} http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    return [nginx, "-e", f"{folder}/error.log", "-p", str(folder), "-c", "nginx.conf"]
