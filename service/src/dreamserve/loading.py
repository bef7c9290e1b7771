"""Loads a bundle's folder as a world on a backend."""

from pathlib import Path

from dreamserve.backends.base import Precision
from dreamserve.backends.choose import BackendName, load_backend
from dreamserve.bundle import load_bundle
from dreamserve.engine.world import World
from dreamserve.trust import UNTRUSTED, Trust


def load_world(
    path: str | Path,
    backend: BackendName = "auto",
    threads: int = 1,
    precision: Precision = "float32",
    trust: Trust = UNTRUSTED,
) -> World:
    """Load the bundle at `path` on a backend; the options are those of `load_backend`.

    The bundle may come from anybody: `trust` bounds what loading it takes, and only if
    `trust.trust_torchscript` do the torch backends run its programs. Raises BundleError for an
    invalid bundle, BackendError if the backend is not available or needs more trust.
    """
    bundle = load_bundle(path, trust)
    return World(
        bundle.manifest,
        load_backend(bundle, backend, threads, precision),
        bundle.bank,
        bundle.controller,
        bundle.manifest,
        bundle.ages,
    )
