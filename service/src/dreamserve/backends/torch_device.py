"""torch with the dreams in the device's memory: what is served on CUDA.

The same graphs and the same answers as `TorchBackend`, which moves every row to the device and
back at each step. It runs on a CPU too, without recordings, which is how it is tested anywhere.
"""

from collections.abc import Sequence

import torch

from dreamserve.backends.base import Actions, Array, Precision, State, UInt64
from dreamserve.backends.torch import ROW_GROUP, Graph, TorchBackend
from dreamserve.backends.torch_horizon import Horizons, Values
from dreamserve.backends.torch_record import Recorder, side_stream
from dreamserve.backends.torch_rows import TorchRows
from dreamserve.manifest import WorldSpec


class TorchDeviceBackend(TorchBackend):
    """A TorchBackend that keeps rows and looks ahead on its device (`KeepsRows`).

    `recorded` false runs kernel by kernel on CUDA too; `fused` lets TorchScript's own compiler
    merge elementwise kernels in what is recorded. Both count for what is asked for afterwards.
    """

    recorded = True
    fused = False

    def __init__(
        self,
        encode: Graph,
        step: Graph,
        decode: Graph,
        device: str | torch.device = "cuda",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(encode, step, decode, device, precision)
        # One for all: cuBLAS keeps a workspace for every stream that it has met.
        self.stream = side_stream(self.device)
        self.horizons: Horizons | None = None

    def rows(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> TorchRows:
        """Return `count` rows of zeros; every size is recorded when this returns.

        Raises BackendError, with numbers, when they do not fit into the device's memory.
        """
        # On a CPU in whole groups, as TorchBackend computes.
        group = ROW_GROUP if self.device.type == "cpu" else 1
        whole = sorted({size + -size % group for size in sizes})
        return TorchRows(spec, self.step_tensors, count, whole, self._recorder())

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
        """Return what N futures earn, as `KeepsRows.returns` says.

        The first call for a size, a horizon and a way to share noise records them, which takes
        seconds. Raises BackendError when a recording does not fit into the device's memory.
        """
        if self.horizons is None or self.horizons.spec is not spec:
            self.horizons = Horizons(spec, self.step_tensors, self._recorder)
        return self.horizons.returns(latent, state, actions, keys, temperature, discount)

    def _recorder(self) -> Recorder:
        return Recorder(self.device, self.stream, self.recorded, self.fused)
