"""torch: TorchScript graphs of a bundle, or any callables on tensors that answer alike.

Only this module and those named after it import torch, and only who asks for them imports them.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution  # torch.jit's own, where it does not say so

from dreamserve.backends.base import Array, Precision, StepInput, StepOutput
from dreamserve.backends.check import check_backend
from dreamserve.backends.host_state import filled
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, BundleError
from dreamserve.manifest import GraphName

Graph = Callable[..., Any]

# A CPU's matrix kernels differ for the odd rows at a batch's end and for fewer than four rows: in
# whole groups every row is computed alike, so a dream does not depend on the rest of its batch.
ROW_GROUP = 8


class TorchBackend:
    """Three callables with the graphs' signatures: inputs and outputs in the manifest's order.

    `step` takes (latent, action, *state, temperature, noise) and returns a tuple; nn.Modules
    should be in eval mode. The caller keeps them; nothing is copied. Raises BackendError when
    `device` is not there.

    `precision` is that of the step's matrix products; encode and decode stay float32. `tf32` lets
    a device that can round their factors to 10 bits of mantissa do so. `bf16` rounds factors
    and products to 7 bits by autocast: weights stay float32, so that the same graph serves every
    mode, and what it answers is widened, so that latents and states add up in float32 from step to
    step. `dreamserve.backends.accuracy` measures what a mode costs.
    """

    def __init__(
        self,
        encode: Graph,
        step: Graph,
        decode: Graph,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.device = _present(device)
        self.precision = precision
        suffix = "" if precision == "float32" else f"-{precision}"
        self.name = f"torch-{self.device.type}{suffix}"
        self._encode, self._step, self._decode = encode, step, decode

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load the TorchScript graphs of `bundle`; BundleError if they do not fit its manifest."""
        there = _present(device)
        encode = _load(bundle, "encode", there)
        step, decode = _load(bundle, "step", there), _load(bundle, "decode", there)
        backend = cls(encode, step, decode, there, precision)
        check_backend(bundle.manifest, backend)
        return backend

    def encode(self, frames: Array) -> tuple[Array, Array]:
        mu, logvar = self._run(self._encode, (frames,))
        return mu, logvar

    def decode(self, latent: Array) -> Array:
        return self._run(self._decode, (latent,))[0]

    def step(self, batch: StepInput) -> StepOutput:
        inputs = (batch.latent, batch.action, *batch.state, batch.temperature, batch.noise)
        latent, reward, done_logit, *rest = self._run(self.step_tensors, inputs)
        return StepOutput(latent, reward, done_logit, tuple(rest[:-3]), *rest[-3:])

    def step_tensors(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the step's outputs, float32, for its inputs, in the manifest's order."""
        with _arithmetic(self.device, self.precision), optimized_execution(False):
            return tuple(part.float() for part in self._step(*inputs))

    @torch.inference_mode()
    def _run(self, graph: Graph, arrays: Sequence[npt.NDArray[Any]]) -> list[Array]:
        rows = len(arrays[0])
        # Otherwise TorchScript looks at the first runs and then compiles kernels of its own: the
        # same inputs would be answered with other last bits from the third time on.
        with _arithmetic(self.device, "float32"), optimized_execution(False):
            answer = graph(*(self._tensor(array, whole_groups(rows)) for array in arrays))
        tensors = (answer,) if isinstance(answer, Tensor) else answer
        return [np.ascontiguousarray(tensor[:rows].cpu().numpy()) for tensor in tensors]

    def _tensor(self, array: npt.NDArray[Any], size: int) -> Tensor:
        return torch.tensor(filled(array, size), device=self.device)


def whole_groups(rows: int) -> int:
    """Return the least multiple of ROW_GROUP that holds so many rows."""
    return rows + -rows % ROW_GROUP


def _present(device: str | torch.device) -> torch.device:
    there = torch.device(device)
    if there.type == "cuda" and not torch.cuda.is_available():
        raise BackendError("torch sees no CUDA device on this machine")
    return there


@contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Set how exactly matrix products are computed, and set it back.

    The setting is the process's: while a graph runs, other threads' products meet it as well.
    """
    tf32, before = precision == "tf32", torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with (
            # Left alone, cuDNN computes convolutions in TF32, and picks algorithms that add up in
            # any order.
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=tf32),
            torch.autocast(
                device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
            ),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


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
