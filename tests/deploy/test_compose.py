"""compose.yaml is valid, and what it names exists."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamserve.settings import PREFIX, Settings

compose_spec = pytest.importorskip("compose_spec", reason="needs requirements-dev.txt on Linux")
ROOT = Path(__file__).parents[2]
LATER = {"STORE"}  # settings that a server may not have yet


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the file with its anchors resolved, as `docker compose config` would print it."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


def test_it_follows_the_specification(compose):
    plain = yaml.safe_dump({key: value for key, value in compose.items() if key[:2] != "x-"})
    compose_spec.PyCompose.from_yaml(plain).validate()


def test_every_service_is_limited_and_may_write_only_where_it_says(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys(), name
        assert service["restart"] == "unless-stopped", name


def test_what_a_service_waits_for_has_a_health_check(compose):
    for service in compose["services"].values():
        for name, wanted in service.get("depends_on", {}).items():
            other = compose["services"][name]
            assert wanted == {"condition": "service_healthy"}
            assert "healthcheck" in other or other["image"] == "dreamserve"  # the image has one


def test_its_variables_are_settings_and_its_grace_period_is_longer_than_the_drain(compose):
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
        f"{PREFIX}{name}" for name in LATER
    }
    for name in ("dreamserve-1", "dreamserve-2"):
        service = compose["services"][name]
        assert service["environment"].keys() <= known
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings().drain_s + 5


def test_nginx_accepts_its_file(tmp_path):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    text = (ROOT / "deploy/nginx/compose.conf").read_text()
    text = text.replace("/etc/nginx/dreamserve", str(ROOT / "deploy/nginx"))
    # Debian's nginx resolves names only at its start, and a new one needs Docker's name server
    text = re.sub(r"server [\w-]+:(\d+) resolve", r"server 127.0.0.1:\1", text)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off;\n{text}\n}}"
    )
    command = [program, "-t", "-q", "-e", "stderr", "-p", str(tmp_path), "-c", "nginx.conf"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_gets_files_that_exist_and_balances_the_servers_that_run(compose):
    nginx = compose["services"]["nginx"]
    sources = [volume.split(":")[0] for volume in nginx["volumes"]]
    assert all((ROOT / source).exists() for source in sources)
    text = (ROOT / "deploy/nginx/compose.conf").read_text()
    servers = re.findall(r"^\s*server ([\w-]+):8000 resolve\b", text, re.MULTILINE)
    assert servers == [name for name in compose["services"] if name.startswith("dreamserve")]
    inside = "/etc/nginx/dreamserve"
    assert nginx["volumes"][0].split(":")[1] == inside
    for included in re.findall(rf"include {inside}/(\S+);", text):
        assert (ROOT / "deploy/nginx" / included).exists()
    (port,) = re.findall(r"listen (\d+);", text)
    assert nginx["ports"] == [f"8000:{port}"]
