"""Action spaces, as in Gymnasium: shape, dtype, membership, and actions from uniforms or scores.

A module for each kind. Only planners, whose distributions differ, ask for the kind of a space.
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
