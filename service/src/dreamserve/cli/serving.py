"""`dreamserve serve`: loads worlds, listens, says so in one line, and serves."""

import logging
from socket import socket
from typing import Any

import typer

from dreamserve import __version__
from dreamserve.api.app import create_app
from dreamserve.api.async_engine import engine_of
from dreamserve.api.memory import wire_memory
from dreamserve.api.server import bind
from dreamserve.api.server import serve as serve_until_stopped
from dreamserve.cli.options import Bundles, bundles_or_default
from dreamserve.engine.engine import Engine
from dreamserve.loading import load_world
from dreamserve.settings import Settings


def run(bundles: Bundles, given: dict[str, Any]) -> None:
    """Serve until a signal ends it. Raises DreamserveError when serving cannot begin."""
    settings = Settings.load(**given)
    paths = bundles_or_default(bundles)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with bind(settings.host, settings.port) as listening:
        worlds = [
            load_world(path, settings.backend, settings.threads, settings.precision)
            for path in paths
        ]
        engine = engine_of(worlds, settings)
        line = _summary(engine, settings, listening)
        app = create_app(engine, settings)
        serve_until_stopped(app, app.service, listening, lambda: typer.echo(line))


def _summary(engine: Engine, settings: Settings, listening: socket) -> str:
    worlds = (f"{name} ({world.backend.name})" for name, world in engine.worlds.items())
    memory = f"{engine.memory_bytes / 1e6:.1f} MB"
    most_bytes = sum(engine.memory_bounds.values()) + sum(wire_memory(settings).values())
    most = f"{most_bytes / 1e6:.0f} MB"
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return (
        f"dreamserve {__version__}: {', '.join(worlds)};"
        f" up to {engine.capacity} sessions in {memory}, at most {most} in all; {url}"
    )
