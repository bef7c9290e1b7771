"""torch: TorchScript graphs of a bundle, or any callables on tensors with the same signatures.

Only the `torch*` modules import torch, and they are imported only for a backend that needs them.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution  # torch.jit exports it, but its types do not

from dreamserve.backends.base import (
    Array,
    Precision,
    State,
    StepInput,
    StepOutput,
    check_shapes,
    head_arrays,
)
from dreamserve.backends.check import check_backend
from dreamserve.backends.host_state import padded
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, BundleError
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName

Graph = Callable[..., Any]

# A CPU uses other matrix kernels for the remaining rows of a batch and for fewer than four rows. In
# full groups every row is computed alike, so a dream does not depend on the rest of its batch.
ROW_GROUP = 8


class TorchBackend:
    """Callables with the graphs' signatures: inputs and outputs in the manifest's order.

    `step` takes (latent, action, *state, temperature, noise) and returns a tuple; nn.Modules
    should be in eval mode and on `device`. The graphs are those of `spec`. Raises
    BackendError if `device` is not available.

    `precision` is that of the step's matrix products; encode and decode stay float32. `tf32` allows
    devices that support it to round the factors to 10 bits of mantissa. `bf16` rounds factors and
    products to 7 bits by autocast: weights stay float32, so the same graph serves every mode, and
    outputs are converted to float32, so latents and states accumulate in float32 from step to step.
    `dreamserve.backends.accuracy` measures the error of a mode.
    """

    def __init__(
        self,
        spec: WorldSpec,
        graphs: Mapping[GraphName, Graph],
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.device = _available(device)
        self.precision = precision
        suffix = "" if precision == "float32" else f"-{precision}"
        self.name = f"torch-{self.device.type}{suffix}"
        self._graphs, self._shapes = dict(graphs), spec.graph_outputs()
        self._states, self._heads = len(spec.recurrent_state), head_arrays(spec)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load the TorchScript graphs of `bundle`; BundleError if they do not fit its manifest."""
        device = _available(device)
        graphs = {name: _load(bundle, name, device) for name in bundle.manifest.graphs.by_name()}
        backend = cls(bundle.manifest, graphs, device, precision)
        check_backend(bundle.manifest, backend)
        return backend

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        return tuple(self._run("encode", (observations, *state)))

    def decode(self, latent: Array) -> Array:
        return self._run("decode", (latent,))[0]

    def policy(self, latent: Array, state: State) -> Array:
        return self._run("policy", (latent, *state))[0]

    def step(self, batch: StepInput) -> StepOutput:
        inputs = (batch.latent, batch.action, *batch.state, batch.temperature, batch.noise)
        return StepOutput.of(self._run("step", inputs), self._states, self._heads)

    def step_tensors(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the step's outputs, float32, for its inputs, both in the manifest's order."""
        with _matmul_precision(self.device, self.precision), optimized_execution(False):
            return tuple(part.float() for part in self._outputs("step", *inputs))

    @torch.inference_mode()
    def _run(self, name: GraphName, arrays: Sequence[npt.NDArray[Any]]) -> list[Array]:
        rows = len(arrays[0])
        tensors = [self._tensor(array, full_groups(rows)) for array in arrays]
        # Otherwise TorchScript profiles the first runs and then fuses kernels, so the last bits of
        # the outputs for the same inputs would change from the third run on.
        with _matmul_precision(self.device, "float32"), optimized_execution(False):
            is_step = name == "step"
            found = self.step_tensors(*tensors) if is_step else self._outputs(name, *tensors)
        return [np.ascontiguousarray(tensor[:rows].cpu().numpy()) for tensor in found]

    def _outputs(self, name: GraphName, *inputs: Tensor) -> Sequence[Tensor]:
        """Return a graph's outputs. Raises BackendError as `check_shapes`."""
        outputs = self._graphs[name](*inputs)
        tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
        check_shapes(name, tensors, self._shapes[name], len(inputs[0]))
        return tensors

    def _tensor(self, array: npt.NDArray[Any], size: int) -> Tensor:
        return torch.tensor(padded(array, size), device=self.device)


def full_groups(rows: int) -> int:
    """Return `rows` rounded up to a multiple of ROW_GROUP."""
    return rows + -rows % ROW_GROUP


def _available(name: str | torch.device) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError("torch sees no CUDA device on this machine")
    return device


@contextmanager
def _matmul_precision(device: torch.device, precision: Precision) -> Iterator[None]:
    """Set the precision of matrix products and convolutions, and restore it at the end.

    The setting is global: it applies to products of other threads, too, while a graph runs.
    """
    tf32, before = precision == "tf32", torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with (
            # By default cuDNN convolves in TF32, by algorithms whose order of summation may vary.
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
        # Bundles use TorchScript, though deprecated, because torch.export's format is not stable.
        warnings.filterwarnings("ignore", r".*torch\.jit.*", DeprecationWarning)
        try:
            load: Callable[..., torch.nn.Module] = torch.jit.load
            module = load(io.BytesIO(content), map_location=device)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[0]
            raise BundleError(f"{bundle.path}: {name} is not TorchScript: {line}") from error
        return module.float().eval()
