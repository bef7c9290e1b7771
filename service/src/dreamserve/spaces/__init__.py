"""Action spaces, as in Gymnasium: shape, dtype, membership, and actions from uniforms or scores.

    space           an action             scores of a policy (B, width), and what they become
    Discrete        int64 ()              one for each action; the largest
    Box             float32 (A,)          one for each component; by tanh, between its bounds
    MultiDiscrete   int64 (A,)            one for each choice of each component; its largest
    MultiBinary     int64 (A,), 0 or 1    one for each component; 1 if it is above 0

Only planners, whose distributions differ, ask for the kind of a space.
"""

from typing import Annotated

from pydantic import Field

from dreamserve.spaces.base import Actions, Space
from dreamserve.spaces.box import BoxSpace, between
from dreamserve.spaces.discrete import DiscreteSpace
from dreamserve.spaces.multi import MultiBinarySpace, MultiDiscreteSpace

ActionSpace = Annotated[
    DiscreteSpace | BoxSpace | MultiDiscreteSpace | MultiBinarySpace, Field(discriminator="type")
]

__all__ = [
    "ActionSpace",
    "Actions",
    "BoxSpace",
    "DiscreteSpace",
    "MultiBinarySpace",
    "MultiDiscreteSpace",
    "Space",
    "between",
]
