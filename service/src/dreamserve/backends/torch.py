"""torch: TorchScript graphs of a bundle, or any callables on tensors that answer alike.

Only this module of the service imports torch, and only who asks for this backend imports it.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends.base import Array, StepInput, StepOutput
from dreamserve.backends.check import check_backend
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, BundleError
from dreamserve.manifest import GraphName

Graph = Callable[..., Any]

# A CPU's matrix kernels differ for the odd rows at a batch's end and for fewer than four rows: in
# whole groups every row is computed alike, so that a dream does not depend on its company.
_ROW_GROUP = 8


class TorchBackend:
    """Three callables with the graphs' signatures: inputs and outputs in the manifest's order.

    `step` takes (latent, action, *state, temperature, noise) and returns a tuple; nn.Modules
    should be in eval mode. The caller keeps them; nothing is copied. Raises BackendError when
    `device` is not there.
    """

    def __init__(
        self, encode: Graph, step: Graph, decode: Graph, device: str | torch.device = "cpu"
    ) -> None:
        self.device = _present(device)
        self.name = f"torch-{self.device.type}"
        self._encode, self._step, self._decode = encode, step, decode

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: str | torch.device = "cpu") -> "TorchBackend":
        """Load the TorchScript graphs of `bundle`; BundleError if they do not fit its manifest."""
        there = _present(device)
        encode = _load(bundle, "encode", there)
        step, decode = _load(bundle, "step", there), _load(bundle, "decode", there)
        backend = cls(encode, step, decode, there)
        check_backend(bundle.manifest, backend)
        return backend

    def encode(self, frames: Array) -> tuple[Array, Array]:
        mu, logvar = self._run(self._encode, (frames,))
        return mu, logvar

    def decode(self, latent: Array) -> Array:
        return self._run(self._decode, (latent,))[0]

    def step(self, batch: StepInput) -> StepOutput:
        inputs = (batch.latent, batch.action, *batch.state, batch.temperature, batch.noise)
        latent, reward, done_logit, *rest = self._run(self._step, inputs)
        return StepOutput(latent, reward, done_logit, tuple(rest[:-3]), *rest[-3:])

    @torch.inference_mode()
    def _run(self, graph: Graph, arrays: Sequence[npt.NDArray[Any]]) -> list[Array]:
        rows = len(arrays[0])
        group = _ROW_GROUP if self.device.type == "cpu" else 1
        missing = -rows % group
        answer = graph(*(self._tensor(array, missing) for array in arrays))
        tensors = (answer,) if isinstance(answer, Tensor) else answer
        return [np.ascontiguousarray(tensor[:rows].cpu().numpy()) for tensor in tensors]

    def _tensor(self, array: npt.NDArray[Any], missing: int) -> Tensor:
        if missing:
            array = np.concatenate([array, np.repeat(array[:1], missing, axis=0)])
        return torch.tensor(array, device=self.device)


def _present(device: str | torch.device) -> torch.device:
    there = torch.device(device)
    if there.type == "cuda" and not torch.cuda.is_available():
        raise BackendError("torch sees no CUDA device on this machine")
    return there


def _load(bundle: Bundle, name: GraphName, device: torch.device) -> Graph:
    content = bundle.graph_bytes(name, "torchscript")
    with warnings.catch_warnings():
        # The format of a bundle is TorchScript by decision; torch.export's is not stable yet.
        warnings.filterwarnings("ignore", r".*torch\.jit.*", DeprecationWarning)
        try:
            load: Callable[..., torch.nn.Module] = torch.jit.load
            module = load(io.BytesIO(content), map_location=device)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[0]
            raise BundleError(f"{bundle.path}: {name} is not TorchScript: {line}") from error
        return module.float().eval()
