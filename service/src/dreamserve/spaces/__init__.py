"""Action spaces, as in Gymnasium: shape, dtype, membership, and actions from uniforms or scores.

Only planners, whose distributions differ, ask for the kind of a space.
"""

from typing import Annotated

from pydantic import Field

from dreamserve.spaces.box import BoxSpace, between
from dreamserve.spaces.discrete import DiscreteSpace

__all__ = ["ActionSpace", "BoxSpace", "DiscreteSpace", "between"]

ActionSpace = Annotated[DiscreteSpace | BoxSpace, Field(discriminator="type")]
