"""The command `dreamserve`: serve | inspect | openapi."""

import logging
from pathlib import Path
from socket import socket
from typing import Annotated, Any, NoReturn

import orjson
import typer

from dreamserve import __version__
from dreamserve.api.app import create_app, openapi_document
from dreamserve.api.async_engine import engine_of
from dreamserve.api.server import bind, serve
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.engine.engine import Engine
from dreamserve.errors import SettingsError
from dreamserve.loading import load_world
from dreamserve.settings import Settings
from dreamserve_protocol.errors import DreamserveError

DEFAULT_BUNDLE = Path("bundles/takecover")

main = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Serve world models: stateful, batched dream sessions over HTTP.",
)  # fmt: skip


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"dreamserve: {error}", err=True)
    raise typer.Exit(1)


@main.command("serve")
def serve_command(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            help=f"World bundles to serve. Default: {DEFAULT_BUNDLE}.", metavar="BUNDLE"
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes any free one (default 8000).")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="auto, onnx, torch, onnx-cuda or torch-cuda (default auto)."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of a step; 0 measures the best (default 0).")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Precision on torch-cuda: float32, tf32 or bf16 (default float32)."),
    ] = None,
    capacity: Annotated[
        int | None, typer.Option(help="Maximum number of sessions (default 10000).")
    ] = None,
    session_ttl_s: Annotated[
        float | None,
        typer.Option(help="Seconds after which an idle session expires (default 3600)."),
    ] = None,
    drain_s: Annotated[
        float | None,
        typer.Option(help="Seconds to keep serving existing sessions after SIGTERM (default 20)."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning, error or critical (default info).")
    ] = None,
) -> None:
    """Serve worlds over HTTP. Each option has an environment variable, such as DREAMSERVE_PORT."""
    given = {
        "host": host,
        "port": port,
        "backend": backend,
        "threads": threads,
        "precision": precision,
        "capacity": capacity,
        "session_ttl_s": session_ttl_s,
        "drain_s": drain_s,
        "log_level": log_level,
    }
    try:
        settings = Settings.load(
            **{name: value for name, value in given.items() if value is not None}
        )
        _serve(bundles or [_default_bundle()], settings)
    except DreamserveError as error:
        _fail(error)


def _default_bundle() -> Path:
    if not DEFAULT_BUNDLE.is_dir():
        raise SettingsError(
            f"no {DEFAULT_BUNDLE} here; name the world to serve: dreamserve serve PATH/TO/BUNDLE"
        )
    return DEFAULT_BUNDLE


def _serve(bundles: list[Path], settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    listening = bind(settings.host, settings.port)
    worlds = [
        load_world(path, settings.backend, settings.threads, settings.precision) for path in bundles
    ]
    engine = engine_of(worlds, settings)
    line = _summary(engine, listening)
    app = create_app(engine, settings)
    serve(app, app.service, listening, lambda: typer.echo(line))


def _summary(engine: Engine, listening: socket) -> str:
    worlds = (f"{name} ({world.backend.name})" for name, world in engine.worlds.items())
    memory = _megabytes(engine.memory_bytes)
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return (
        f"dreamserve {__version__}: {', '.join(worlds)};"
        f" up to {engine.capacity} sessions in {memory}; {url}"
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


@main.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="BUNDLE")],
) -> None:
    """Verify a bundle and print its contents."""
    try:
        typer.echo("\n".join(_described(load_bundle(bundle))))
    except DreamserveError as error:
        _fail(error)


def _described(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    space = manifest.action_space
    frame = manifest.frame
    size = sum(path.stat().st_size for path in bundle.path.iterdir() if path.is_file())
    state = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in manifest.recurrent_state)
    rows: list[tuple[str, Any]] = [
        ("world", f"{manifest.name} {manifest.version}"),
        ("size", f"{_megabytes(size)}, all hashes verified"),
        ("actions", space),
        ("frames", f"{frame.shape} seen, {frame.source_shape} from the camera"),
        ("latent", manifest.latent_size),
        ("state", f"{state}; {manifest.state_bytes()} bytes a session"),
        ("mixture", f"{manifest.mixture.head}, K = {manifest.mixture.components}"),
        ("temperature", f"{manifest.temperature_rule} rule"),
        ("done", f"logit > {manifest.done.threshold}"),
        ("reward", manifest.reward.kind),
        ("bank", f"{manifest.bank.size} real starting points"),
        ("controller", manifest.controller.kind if manifest.controller else "none"),
    ]
    rows += [*_flat("origin", manifest.origin), *_flat("quality", manifest.quality)]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [row for key, inner in value.items() for row in _flat(f"{name}.{key}", inner)]


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    typer.echo(orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2))
