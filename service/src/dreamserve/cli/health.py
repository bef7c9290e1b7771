"""`dreamserve health`: asks this machine's server whether it is ready, as an orchestrator's check.

It obeys no proxy. A container has one server, whose command line tells its port, since `--port`
may override the setting.
"""

from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from dreamserve.settings import Settings
from dreamserve_protocol.errors import DreamserveError

TIMEOUT_S = 2.0
_PROCESSES = Path("/proc")
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_OPTIONS = ("host", "port")


def run(given: dict[str, Any]) -> None:
    """Return if the server is ready. Raises DreamserveError."""
    settings = Settings.load(**served_options(_PROCESSES) | given)
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    server = f"{host} port {settings.port}"
    with closing(HTTPConnection(host, settings.port, timeout=TIMEOUT_S)) as http:
        try:
            http.request("GET", "/readyz")
            response = http.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise DreamserveError(f"no response from {server}: {error or repr(error)}") from error
    if response.status != 200:
        detail = content.decode(errors="replace")
        raise DreamserveError(f"{server} is not ready: {response.status} {detail}")


def served_options(processes: Path) -> dict[str, str]:
    """Return the options of the server that runs here, if it is the only one."""
    found = []
    for path in processes.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # the process has ended
        if "serve" in words and any(Path(word).name == "dreamserve" for word in words[:3]):
            found.append(words[words.index("serve") + 1 :])
    return _options(found[0]) if len(found) == 1 else {}


def _options(words: list[str]) -> dict[str, str]:
    options = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in _OPTIONS:
            options[name] = value if equals else following
    return options
