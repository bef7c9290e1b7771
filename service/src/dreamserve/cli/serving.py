"""`dreamserve serve`: loads worlds, listens, says so in one line, and serves."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from socket import socket
from typing import Any

import typer

from dreamserve import __version__, logs
from dreamserve.api.app import App, create_app
from dreamserve.api.memory import wire_memory
from dreamserve.api.origins import is_loopback
from dreamserve.api.server import bind
from dreamserve.api.server import serve as serve_until_stopped
from dreamserve.api.tls import tls_context
from dreamserve.backends.trial_start import end_ready_process
from dreamserve.cli.group import telling_of_otel
from dreamserve.cli.options import Bundles, bundles_or_default
from dreamserve.engine.configured import engine_of
from dreamserve.engine.engine import Engine
from dreamserve.errors import SettingsError
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
    as_json = settings.log_format == "json"
    logs.set_up(settings.log_level, as_json, settings.max_log_lines_per_s)
    tls_context(settings)  # a mistake in it is told before the worlds are loaded
    with ExitStack() as at_end, bind(settings.host, settings.port) as listening:
        worlds = [
            load_world(path, settings.backend, settings.threads, settings.precision, settings.trust)
            for path in paths
        ]
        end_ready_process()  # of no use if the graphs are not ONNX
        engine = engine_of(worlds, settings)
        url = _url(listening, "https" if settings.tls_cert else "http")
        app = create_app(engine, settings)
        if settings.traces:
            at_end.callback(_trace(app))
        if settings.api_keys_file == "" and not is_loopback(settings.host):
            log.warning(_OPEN, settings.host)

        def say() -> None:
            _log_start(engine, settings, url)
            if not as_json:
                _print(_summary(engine, settings, url))

        serve_until_stopped(app, app.service, listening, say)


def _print(line: str) -> None:
    """Print a line, unless nobody can receive it: a full disk or a closed pipe ends no server."""
    try:
        typer.echo(line)
    except OSError as error:
        log.warning("cannot print to stdout: %s", error.strerror)
        with open(os.devnull, "wb") as nothing:  # Python flushes what is left as it exits
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _trace(app: App) -> Callable[[], None]:
    """Trace the application's requests; return what ends that. Raises SettingsError."""
    try:
        with telling_of_otel():
            from dreamserve.api.tracing import provider_of_environment, trace

            provider = provider_of_environment()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--traces needs {error.name}, which is not installed: pip install 'dreamserve[otel]'"
        ) from error
    app.wrappers.append(trace(app.service, provider.tracer))
    return provider.shutdown


def _url(listening: socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _summary(engine: Engine, settings: Settings, url: str) -> str:
    worlds = (f"{name} ({world.backend.name})" for name, world in engine.worlds.items())
    memory = f"{engine.usage.memory_bytes / 1e6:.1f} MB"
    most_bytes = sum(engine.usage.memory_bounds.values()) + sum(wire_memory(settings).values())
    most = f"{most_bytes / 1e6:.0f} MB"
    return (
        f"dreamserve {__version__}: {', '.join(worlds)};"
        f" up to {engine.usage.capacity} sessions in {memory}, at most {most} in all; {url}"
    )


def _log_start(engine: Engine, settings: Settings, url: str) -> None:
    """Log what is served, and how."""
    for name, world in engine.worlds.items():
        backend = world.backend
        fields = {"world": name, "version": world.version, "backend": backend.name}
        fields["threads"] = getattr(backend, "threads", None)
        log.info("world", extra={"fields": {key: one for key, one in fields.items() if one}})
    if changed := settings.changed():
        log.info("settings that are not the default", extra={"fields": changed})
    fields = {"version": __version__, "url": url, "capacity": str(engine.usage.capacity)}
    log.info("serving", extra={"fields": {**fields, "memory_bytes": engine.usage.memory_bytes}})
