"""`dreamserve health`: asks this machine's server whether it is ready, as an orchestrator's check.

It obeys no proxy. A container's first process is the server, or an init with the server's command
line, whose options override the settings.
"""

import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from dreamserve.settings import Settings
from dreamserve_protocol.errors import DreamserveError

TIMEOUT_S = 2.0
_FIRST_PROCESS = Path("/proc/1/cmdline")
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def run(given: dict[str, Any], serve: Any) -> None:
    """Return if the server is ready. Raises DreamserveError.

    `serve` is the command of that name; only it knows which of its options take a value.
    """
    settings = Settings.load(**served_options(_FIRST_PROCESS, serve) | given)
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    server = f"{host} port {settings.port}"
    has_tls = bool(settings.tls_cert)
    with closing(connection(host, settings.port, has_tls)) as http:
        try:
            http.request("GET", "/readyz")
            response = http.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise DreamserveError(f"no response from {server}: {error or repr(error)}") from error
    if response.status != 200:
        detail = content.decode(errors="replace")
        raise DreamserveError(f"{server} is not ready: {response.status} {detail}")


def connection(host: str, port: int, has_tls: bool) -> HTTPConnection:
    """Return a connection to a server on this machine, whose certificate is for another name."""
    if not has_tls:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def served_options(command_line: Path, serve: Any) -> dict[str, Any]:
    """Return the options in the command line of a process, if that is `dreamserve serve`."""
    try:
        words = command_line.read_bytes().decode(errors="replace").split("\0")
    except OSError:  # not Linux
        return {}
    for number, word in enumerate(words[1:]):
        if word == "serve" and Path(words[number]).name == "dreamserve":
            return _options(words[number + 2 :], serve)
    return {}


def _options(words: list[str], serve: Any) -> dict[str, Any]:
    """Return the options among the words after `serve`; what it would refuse is left out."""
    last = words[:-1] if words[-1:] == [""] else words  # each word of a process ends with \0
    context = serve.make_context("serve", last, resilient_parsing=True, ignore_unknown_options=True)
    return {
        name: one
        for name, one in context.params.items()
        if name in Settings.model_fields and one is not None
    }
