"""Arrays, what an answer may include, and where a dream begins."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Include = frozenset[
    Literal["frame", "mixture", "state", "entropy", "most_likely", "components", "trajectories"]
]
NOTHING: Include = frozenset()


@dataclass(frozen=True, slots=True)
class BankStart:
    """Start at entry `index` of the world's bank of real starting points."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class LatentStart:
    """Start at this latent, with the recurrent state at zero."""

    latent: Float32  # (Z,)


@dataclass(frozen=True, slots=True, eq=False)
class FramesStart:
    """Start at the last of these real frames, the memory burnt in on the ones before."""

    frames: UInt8  # (F, H, W, C), the camera's shape or the model's
    actions: npt.NDArray[Any]  # (F - 1, ...) the actions taken between them


Start = BankStart | LatentStart | FramesStart
