"""`dreamserve serve`: loads worlds, listens, says so in one line, and serves."""

import logging
from socket import socket
from typing import Any

import typer

from dreamserve import __version__
from dreamserve.api.app import create_app
from dreamserve.api.async_engine import engine_of
from dreamserve.api.origins import is_loopback
from dreamserve.api.server import bind
from dreamserve.api.server import serve as serve_until_stopped
from dreamserve.api.tls import tls_context
from dreamserve.backends.trial_start import end_ready_process
from dreamserve.cli.options import Bundles, bundles_or_default
from dreamserve.engine.engine import Engine
from dreamserve.loading import load_world
from dreamserve.settings import Settings

_OPEN = (
    "listening on %s without API keys: whoever reaches this port can use, list and end all"
    " sessions; DREAMSERVE_API_KEYS_FILE names a file of keys (docs/security.md)"
)

log = logging.getLogger("dreamserve")


def run(bundles: Bundles, given: dict[str, Any]) -> None:
    """Serve until a signal ends it. Raises DreamserveError when serving cannot begin."""
    settings = Settings.load(**given)
    paths = bundles_or_default(bundles)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    tls_context(settings)  # a mistake in it is told before the worlds are loaded
    with bind(settings.host, settings.port) as listening:
        worlds = [
            load_world(path, settings.backend, settings.threads, settings.precision, settings.trust)
            for path in paths
        ]
        end_ready_process()  # of no use if the graphs are not ONNX
        engine = engine_of(worlds, settings)
        app = create_app(engine, settings)
        if settings.api_keys_file == "" and not is_loopback(settings.host):
            log.warning(_OPEN, settings.host)
        line = _summary(engine, listening, "https" if settings.tls_cert else "http")
        serve_until_stopped(app, app.service, listening, lambda: typer.echo(line))


def _summary(engine: Engine, listening: socket, scheme: str) -> str:
    worlds = (f"{name} ({world.backend.name})" for name, world in engine.worlds.items())
    memory = f"{engine.memory_bytes / 1e6:.1f} MB"
    host, port = listening.getsockname()[:2]
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return (
        f"dreamserve {__version__}: {', '.join(worlds)};"
        f" up to {engine.capacity} sessions in {memory}; {url}"
    )
