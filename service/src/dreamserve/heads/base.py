"""The interface of latent heads. B is the number of rows, Z the latent's size."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Shape = tuple[int, ...]
Outputs = tuple[Array, ...]  # arrays of B rows, in the order of `outputs` or of `posterior`
Prepared = tuple[npt.NDArray[Any], ...]


class Head(BaseModel):
    """A distribution over latents (Z,), float32.

    It is a number of independent choices among K: of a mixture's component, of a class. Where
    nothing is chosen, K is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    has_density: ClassVar[bool] = False  # else latents are points, with probabilities

    # Shapes of one row.

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

    # The prediction of a step.

    @property
    @abstractmethod
    def choices(self) -> int:
        """K, the number of alternatives of each choice."""

    @abstractmethod
    def parameters(self, outputs: Outputs) -> dict[str, Array]:
        """Return what `shown` names, float32 (B, …), at temperature 1; it may be NaN."""

    @abstractmethod
    def logits(self, outputs: Outputs) -> Array:
        """Return the logits of the choices: (B, K) for one, (B, K, N) for N with Z / N each."""

    @abstractmethod
    def chosen(self, outputs: Outputs, order: Int64) -> Array:
        """Return the means (M, Z) of the alternatives `order` (M,) or (M, N) of the first row."""

    @abstractmethod
    def moments(self, outputs: Outputs) -> tuple[Float64, Float64]:
        """Return the mean and the variance (Z,) of the first row's latent, at temperature 1."""

    @abstractmethod
    def surprise(self, outputs: Outputs, latent: Array) -> float:
        """Return how unlikely `latent` (Z,) is by the first row, at temperature 1."""

    def differential_entropy(self, outputs: Outputs) -> Array:
        """Return the entropy (B,) of the density, in nats per dimension."""
        raise NotImplementedError(f"a {type(self).__name__} has no density")

    def entropy_size(self, latent_size: int) -> int:
        """Return how many numbers the entropies of one row compare."""
        return latent_size

    # The posterior of an observation.

    @abstractmethod
    def mode(self, posterior: Outputs) -> Array:
        """Return the latents (B, Z) that an observation stands for, without a draw."""

    @abstractmethod
    def prepared(self, posterior: Outputs) -> Prepared:
        """Return what `draw` takes, row by row.

        It is computed once for all of a bank, so that a draw does not depend on its batch.
        """

    def overflows(self, posterior: Outputs) -> int | None:
        """Return the first row of a finite posterior of which a draw may be beyond float32."""
        return None

    @abstractmethod
    def draw(self, prepared: Prepared, keys: UInt64) -> Array:
        """Draw latents (B, Z), with noise of `keys` (B,), from B prepared rows, or from one."""
