"""`dreamserve doctor`: what works on this machine, a line for each check."""

import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import onnxruntime
from rich.console import Console
from rich.table import Table

from dreamserve import __version__
from dreamserve.api.access.keys import read_keys
from dreamserve.api.server import bind
from dreamserve.api.tls import tls_context
from dreamserve.backends.check import step_s
from dreamserve.backends.choose import cores, cuda_devices, load_backend
from dreamserve.bundle import load_bundle
from dreamserve.cli.options import DEFAULT_BUNDLE, Bundles
from dreamserve.engine.configured import store_of
from dreamserve.errors import SettingsError
from dreamserve.settings import Settings
from dreamserve.store.base import StoreError
from dreamserve_protocol.errors import DreamserveError

ROWS = (1, 64, 256)
_CUDA_PROVIDER = "CUDAExecutionProvider"
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


class Line(NamedTuple):
    """The outcome of one check; what is not ok says what to do."""

    status: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def run(bundles: Bundles, given: dict[str, Any]) -> int:
    """Print a line for each check and return the exit status: 1 if there is a problem."""
    console = Console(highlight=False, markup=False)
    statuses = []
    lines = checked(bundles, given)
    with console.status("checking"):  # shown in a terminal only; loading and measuring take a while
        for line in lines:
            row = Table.grid(padding=(0, 2))
            row.add_column(min_width=8, style=_STYLES[line.status])
            row.add_column(min_width=12)
            row.add_column()
            row.add_row(*line)
            console.print(row)
            statuses.append(line.status)
    return int("problem" in statuses)


def checked(bundles: Bundles, given: dict[str, Any]) -> Iterator[Line]:
    """Check the installation, the devices, the settings, the port, and each bundle."""
    yield Line("ok", "dreamserve", f"{__version__}, Python {platform.python_version()}")
    yield Line("ok", "machine", f"{platform.system()} {platform.machine()}, {cores()} CPU cores")
    yield Line("ok", "onnxruntime", f"{onnxruntime.__version__}, backend onnx")
    yield _torch()
    yield _devices()
    try:
        settings = Settings.load(**given)
    except SettingsError as error:
        yield Line("problem", "settings", str(error))
        settings = Settings()
    else:
        yield from _settings(settings)
    yield _port(settings)
    yield from _store(settings)
    paths = bundles or [path for path in (DEFAULT_BUNDLE,) if path.is_dir()]
    if not paths:
        yield Line("warning", "bundle", "none to check; name one: dreamserve doctor PATH/TO/BUNDLE")
    for path in paths:
        yield from _bundle(path, settings)


def _torch() -> Line:
    try:
        return Line("ok", "torch", f"{version('torch')}, backend torch")
    except PackageNotFoundError:
        hint = "not installed; only backend torch needs it: pip install 'dreamserve[torch]'"
        return Line("ok", "torch", hint)


def _devices() -> Line:
    if not (count := cuda_devices()):
        return Line("ok", "devices", "CPU; no CUDA device")
    found = f"CPU, {count} CUDA device{'s' * (count > 1)}"
    if _torch_sees_cuda():
        return Line("ok", "devices", f"{found}: backend torch-cuda, with --trust-torchscript")
    if _CUDA_PROVIDER in onnxruntime.get_available_providers():
        return Line("ok", "devices", f"{found}: backend onnx-cuda")
    hint = "which neither torch nor onnxruntime can use: install a CUDA build of torch"
    return Line("warning", "devices", f"{found}, {hint}")


def _torch_sees_cuda() -> bool:
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()


def _port(settings: Settings) -> Line:
    try:
        with bind(settings.host, settings.port) as listening:
            host, port = listening.getsockname()[:2]
    except SettingsError as error:
        return Line("problem", "port", str(error))
    return Line("ok", "port", f"{host} port {port} is free")


def _settings(settings: Settings) -> Iterator[Line]:
    """Read the files that the settings name."""
    problems = []
    try:
        tls_context(settings)
    except SettingsError as error:
        problems.append(str(error))
    try:
        if settings.api_keys_file:
            read_keys(Path(settings.api_keys_file))
    except SettingsError as error:
        problems.append(str(error))
    if settings.worlds_folder and not Path(settings.worlds_folder).is_dir():
        problems.append(f"DREAMSERVE_WORLDS_FOLDER: {settings.worlds_folder} is no folder")
    yield from (Line("problem", "settings", problem) for problem in problems)
    if not problems:
        yield Line("ok", "settings", "valid")


def _store(settings: Settings) -> Iterator[Line]:
    try:
        with _without_traces(settings) as tried:
            store = store_of(tried)
            if store is None:
                yield Line("ok", "store", "memory: sessions end with the server")
                return
            with closing(store):
                warnings = store.check()
    except (SettingsError, StoreError, OSError) as error:
        yield Line("problem", "store", str(error))
        return
    yield from (Line("warning", "store", warning) for warning in warnings)
    if not warnings:
        yield Line("ok", "store", f"{settings.store.partition(':')[0]} keeps what it is given")


@contextmanager
def _without_traces(settings: Settings) -> Iterator[Settings]:
    """Give settings with which the store can be tried: no file of SQLite is left behind."""
    kind, _, name = settings.store.partition(":")
    path = Path(name)
    if kind != "sqlite" or not name or path.exists():
        yield settings
        return
    with TemporaryDirectory(dir=path.parent, prefix=".dreamserve-") as folder:
        yield settings.model_copy(update={"store": f"sqlite:{folder}/{path.name}"})


def _bundle(path: Path, settings: Settings) -> Iterator[Line]:
    try:
        bundle = load_bundle(path, settings.trust)
        manifest = bundle.manifest
        found = f"{path}: {manifest.name} {manifest.version}, all hashes verified"
        yield Line("ok", "bundle", found)
        backend = load_backend(bundle, settings.backend, settings.threads, settings.precision)
        rates = (
            f"{rows / step_s(manifest, backend, rows):,.0f} in batches of {rows}" for rows in ROWS
        )
        yield Line("ok", "steps/s", f"{', '.join(rates)}, on {backend.name}")
    except (DreamserveError, OSError) as error:
        yield Line("problem", "bundle", str(error))
