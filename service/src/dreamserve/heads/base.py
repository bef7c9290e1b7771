"""The interface of latent heads. Z is the latent's size; shapes are of one row."""

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class Head(BaseModel):
    """A distribution over latents (Z,), float32."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def outputs(self, latent_size: int) -> dict[str, Shape]:
        """Return the shapes of the outputs of `step` that describe the next latent, in order."""

    @abstractmethod
    def posterior(self, latent_size: int) -> dict[str, Shape]:
        """Return the shapes of the outputs of `encode`, in order; a bank holds the same arrays."""

    @abstractmethod
    def shown(self, latent_size: int) -> dict[str, Shape]:
        """Return the shapes of the parameters that clients are shown as `mixture`."""

    def check_latent_size(self, latent_size: int) -> None:
        """Raise ValueError for a latent size that does not follow from the head."""
