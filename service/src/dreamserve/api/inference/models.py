"""A world as a model of the Open Inference Protocol: its tensors, metadata and configuration."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec

DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
STATE = "state."  # before the name of a recurrent tensor, as in a bundle's bank
DEFAULT_OUTPUTS = ("latent", "reward", "terminated", "truncated")
UNVERSIONED = "1"  # the version of a world without a bundle


class Declared(NamedTuple):
    """A tensor of a world. A number has shape (1,): not all clients know tensors without axes."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes as binary data."""
        return prod(self.shape) * DTYPES[self.datatype].itemsize

    def described(self) -> dict[str, Any]:
        """Return it as a model's metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def configured(self) -> dict[str, Any]:
        """Return it as a model's configuration has it."""
        return {"name": self.name, "data_type": f"TYPE_{self.datatype}", "dims": list(self.shape)}


def action_of(spec: WorldSpec) -> Declared:
    """Return the one input of a world: INT64 (1,) if Discrete, FP32 if a Box, else INT64 (A,)."""
    space = spec.action_space
    datatype = "INT64" if space.dtype is np.int64 else "FP32"
    return Declared("action", datatype, space.shape or (1,))


def outputs_of(spec: WorldSpec) -> dict[str, Declared]:
    """Return all outputs of a world by name."""
    seen = spec.observation
    datatype = "UINT8" if seen.kind == "frame" else "FP32"
    declared = (
        Declared("latent", "FP32", (spec.latent_size,)),
        Declared("reward", "FP32", (1,)),
        Declared("terminated", "BOOL", (1,)),
        Declared("truncated", "BOOL", (1,)),
        *([Declared(seen.field, datatype, seen.shape)] if spec.has_decode else []),
        *(Declared(STATE + t.name, "FP32", t.shape or (1,)) for t in spec.recurrent_state),
    )
    return {tensor.name: tensor for tensor in declared}


class Model:
    """A world in the terms of the protocol."""

    def __init__(self, world: World) -> None:
        self.name, self.version = world.name, world.version or UNVERSIONED
        self.platform = f"dreamserve {world.backend.name}"
        self.action, self.outputs = action_of(world.spec), outputs_of(world.spec)
        self.action_space = world.spec.action_space

    def metadata(self) -> dict[str, Any]:
        """Return the names, datatypes and shapes of its tensors."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [self.action.described()],
            "outputs": [output.described() for output in self.outputs.values()],
        }

    def config(self) -> dict[str, Any]:
        """Return what load generators ask for: requests form sequences and have no batch axis."""
        return {
            "name": self.name,
            "platform": self.platform,
            "max_batch_size": 0,
            "input": [{**self.action.configured(), "optional": True}],
            "output": [output.configured() for output in self.outputs.values()],
            "sequence_batching": {},
        }
