"""From a bundle's folder to a world on a backend."""

from pathlib import Path

from dreamserve.backends.base import Precision
from dreamserve.backends.choose import BackendName, load_backend
from dreamserve.bundle import load_bundle
from dreamserve.engine.world import World


def load_world(
    path: str | Path,
    backend: BackendName = "auto",
    threads: int = 1,
    precision: Precision = "float32",
) -> World:
    """Load the bundle at `path` onto a backend, as `backends.choose.load_backend` says.

    Raises BundleError for a bad bundle, BackendError when the backend is not to be had here.
    """
    bundle = load_bundle(path)
    return World(
        bundle.manifest,
        load_backend(bundle, backend, threads, precision),
        bundle.bank,
        bundle.controller,
        bundle.manifest,
    )
