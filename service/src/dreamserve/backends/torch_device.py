"""torch with the dreams in the device's memory: what is served on CUDA.

The same graphs and the same answers as `TorchBackend`, which moves every row to the device and
back at each step. It has not been run on a CUDA device; on a CPU, where tests run it, it is the
same code.
"""

from collections.abc import Sequence

from dreamserve.backends import torch_horizon
from dreamserve.backends.base import Actions, Array, State, UInt64
from dreamserve.backends.torch import TorchBackend, whole_groups
from dreamserve.backends.torch_horizon import Values
from dreamserve.backends.torch_state import TorchStateStore
from dreamserve.manifest import WorldSpec


class TorchDeviceBackend(TorchBackend):
    """A TorchBackend that keeps rows and looks ahead on its device (`KeepsState`)."""

    def rows(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> TorchStateStore:
        """Return `count` rows of zeros. Raises BackendError when they do not fit the device."""
        whole = sorted({whole_groups(size) for size in sizes})
        return TorchStateStore(spec, self.step_tensors, count, whole, self.device)

    def returns(
        self,
        spec: WorldSpec,
        latent: Array,
        state: State,
        actions: Actions,
        keys: UInt64,
        temperature: float,
        discount: float,
    ) -> Values:
        """Return what N futures earn, as `KeepsState.returns` says."""
        return torch_horizon.returns(
            spec,
            self.step_tensors,
            self.device,
            latent,
            state,
            actions,
            keys,
            temperature,
            discount,
        )
