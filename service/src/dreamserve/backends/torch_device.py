"""torch with the sessions' state in the device's memory: the backend for CUDA.

It runs the same graphs with the same results as `TorchBackend`, which copies every row to the
device and back at each step. Tests run it on a CPU, too.
"""

from collections.abc import Sequence

from dreamserve.backends import torch_horizon
from dreamserve.backends.base import Actions, Array, State, UInt64
from dreamserve.backends.torch import TorchBackend, full_groups
from dreamserve.backends.torch_horizon import Values
from dreamserve.backends.torch_state import TorchStateStore
from dreamserve.manifest import WorldSpec


class TorchDeviceBackend(TorchBackend):
    """A TorchBackend that stores state and evaluates plans on its device (`DeviceBackend`)."""

    def state_store(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> TorchStateStore:
        """Return a store of `count` rows of zeros. Raises BackendError if it does not fit."""
        full = sorted({full_groups(size) for size in sizes})
        return TorchStateStore(spec, self.step_tensors, count, full, self.device)

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
        """Return the returns (N,) of N futures, as defined by `DeviceBackend.returns`."""
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
