"""Compares a trusted bundle's TorchScript with its ONNX graphs."""

from math import inf

from dreamserve.backends.accuracy import measured_error
from dreamserve.backends.base import Backend
from dreamserve.bundle import Bundle
from dreamserve.errors import BundleError

TOLERANCE = 1e-4  # relative
_ROWS = 64


def compare(bundle: Bundle, onnx: Backend) -> float:
    """Return the largest relative difference of a step; 0 for a bundle without TorchScript.

    Raises BundleError if it exceeds TOLERANCE, or the TorchScript does not fit the manifest.
    """
    if any(graph.torchscript is None for graph in bundle.manifest.graphs.by_name().values()):
        return 0.0
    from dreamserve.backends.torch import TorchBackend

    other = TorchBackend.from_bundle(bundle)
    error = measured_error(bundle.manifest, onnx, other, rows=_ROWS)
    worst = max(error.outputs, error.latent if error.other_components < 1 else inf)
    if worst > TOLERANCE:
        raise BundleError(
            f"{bundle.path}: a step as TorchScript differs from ONNX by {worst:.2g} (relative), at"
            f" most {TOLERANCE:g} is right: export both from the same weights"
        )
    return worst
