"""What a world observes: a camera's frame, or a vector of numbers."""

from math import prod
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dreamserve.manifest_parts import Count, Part, Size

_LARGEST = float(np.finfo(np.float32).max)
_RESOLUTION = float(np.finfo(np.float32).eps)
_SMALLEST = 2.0**-100


class Crop(Part):
    """Pixels of the source frame that are kept; bottom and right exclusive."""

    top: Count
    bottom: Size
    left: Count
    right: Size


class FrameSpec(Part):
    """How a camera's frame is converted to the world's input frame (`dreamserve.frames`)."""

    kind: Literal["frame"] = "frame"
    source_shape: tuple[Size, Size, Size]  # H, W, C of the camera, uint8
    crop: Crop
    shape: tuple[Size, Size, Size]  # H, W, C that `encode` takes and `decode` gives
    color_order: Literal["RGB"] = "RGB"
    value_range: tuple[float, float] = (0.0, 1.0)

    @model_validator(mode="after")
    def _crop_inside_source(self) -> Self:
        height, width, channels = self.source_shape
        crop = self.crop
        if not (crop.top < crop.bottom <= height and crop.left < crop.right <= width):
            raise ValueError(f"crop {crop} is not inside the source frame {self.source_shape}")
        if channels != self.shape[2]:
            raise ValueError(f"frame shape {self.shape} does not follow from {self.source_shape}")
        return self

    @model_validator(mode="after")
    def _value_range_fits(self) -> Self:
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"value_range {self.value_range} must rise")
        if max(abs(low), abs(high), high - low) > _LARGEST:
            raise ValueError(f"value_range [{low:g}, {high:g}] is too wide for float32")
        # Pixels are multiples of 1/255 of it, and converted back by the reciprocal.
        if (high - low) / 255 <= _RESOLUTION * max(abs(low), abs(high), _SMALLEST):
            raise ValueError(f"value_range [{low:g}, {high:g}] is too narrow for float32")
        return self

    @property
    def field(self) -> Literal["frame"]:
        """Name of an observation in requests and results."""
        return "frame"

    @property
    def tensor(self) -> str:
        """Name of the graphs' input and output."""
        return "frames"

    def __str__(self) -> str:
        return f"frame {self.shape}, made from {self.source_shape} of the camera"

    @property
    def dtype(self) -> type[np.uint8]:
        """Dtype of observations outside the graphs."""
        return np.uint8


class VectorSpec(Part):
    """A vector of n numbers. The bounds describe it, and are not enforced; None is unbounded."""

    kind: Literal["vector"] = "vector"
    names: tuple[str, ...] = Field(min_length=1)
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if not len(self.low) == len(self.high) == len(self.names):
            raise ValueError("low, high and names must have the same length")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{name}: low {low:g} must be below high {high:g}")
        return self

    @property
    def shape(self) -> tuple[int]:
        """Shape of a vector."""
        return (len(self.names),)

    @property
    def field(self) -> Literal["vector"]:
        """Name of an observation in requests and results."""
        return "vector"

    @property
    def tensor(self) -> str:
        """Name of the graphs' input and output."""
        return "vectors"

    def __str__(self) -> str:
        return f"vector of {len(self.names)} numbers: {', '.join(self.names)}"

    @property
    def dtype(self) -> type[np.float32]:
        """Dtype of observations outside the graphs."""
        return np.float32


ObservationSpec = Annotated[FrameSpec | VectorSpec, Field(discriminator="kind")]


def bytes_of(spec: FrameSpec | VectorSpec) -> int:
    """Return the bytes of one observation, as clients are sent it."""
    return prod(spec.shape) * np.dtype(spec.dtype).itemsize
