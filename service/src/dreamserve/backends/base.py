"""What an engine asks of a device: three pure functions over batches of arrays, and rows to keep
dreams in.

Shapes (B is the batch, Z the latent size, K the mixture's components):

    encode(frames (B, H, W, C) float32)      → mu (B, Z), logvar (B, Z)
    decode(latent (B, Z))                    → frames (B, H, W, C) float32
    step(StepInput)                          → StepOutput

All arrays are C-contiguous and, but for discrete actions (int64), float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dreamserve.manifest import WorldSpec

Array = npt.NDArray[np.float32]
Actions = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
State = tuple[Array, ...]
Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """One step of B dreams."""

    latent: Array  # (B, Z)
    action: Actions  # (B,) int64, or (B, *shape) float32
    state: tuple[Array, ...]  # (B, *shape) each, in the manifest's order
    temperature: Array  # (B,)
    noise: Array  # (B, normal + uniform)


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """What the world answers."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    done_logit: Array  # (B,)
    state: tuple[Array, ...]  # (B, *shape) each
    mixture_logits: Array  # (B, K) or (B, K, Z)
    mixture_mu: Array  # (B, K, Z)
    mixture_log_sigma: Array  # (B, K, Z), or (B, K) for isotropic


class Backend(Protocol):
    """The three graphs of one world on one device."""

    name: str

    def encode(self, frames: Array) -> tuple[Array, Array]:
        """Return the posterior's mu and logvar of each frame."""
        ...

    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step; rows never influence one another."""
        ...

    def decode(self, latent: Array) -> Array:
        """Return the frame that each latent stands for."""
        ...


class PendingStep(Protocol):
    """B dreams one step later, written nowhere yet. All arrays are the host's."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    done_logit: Array  # (B,)
    finite: Bools  # (B,) false where the world answered NaN or infinity

    def output(self) -> StepOutput:
        """Return all that the world answered, B rows; what lies on a device is copied now."""
        ...


class StateStore(Protocol):
    """The latents and recurrent states of many dreams, where the backend keeps them.

    A row is named by its slot. A step is staged, looked at, and only then committed, so that a
    row that went wrong stays as it was.
    """

    def read(self, slot: int) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        ...

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        """Overwrite the rows of `slots` (B,): latent (B, Z), state (B, *shape) each."""
        ...

    def stage(self, slots: Int64, action: Actions, keys: UInt64, temperature: Array) -> PendingStep:
        """Advance copies of B different rows by one step.

        action int64 (B,) or float32 (B, A); `keys` (B,), what each row's noise is drawn from
        (`dreamserve.noise.draw`); temperature (B,). B is at most the largest batch size.
        """
        ...

    def commit(self, slots: Int64, staged: PendingStep, good: Bools, latent: Array | None) -> None:
        """Write the staged rows where `good` (B,), `latent` (B, Z) in place of theirs if given.

        `staged` is what `stage` returned for these `slots`.
        """
        ...


@runtime_checkable
class KeepsState(Protocol):
    """A backend whose device has a memory of its own: it keeps the rows, and looks ahead, there."""

    def rows(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> StateStore:
        """Return `count` rows of zeros; a step's batch is filled up to one of the rising `sizes`.

        Raises BackendError when they do not fit the device.
        """
        ...

    def returns(
        self,
        spec: WorldSpec,
        latent: Array,
        state: State,
        actions: Actions,
        keys: UInt64,
        temperature: float,
        discount: float,
    ) -> npt.NDArray[np.float64]:
        """Return what N futures earn, (N,), all of them dreamt on the device in one go.

        From one latent (1, Z) and state (1, *shape) each, under actions (N, H) int64 or (N, H, A)
        float32 and the noise of `keys` (1, H), shared by all, or (N, H). The sum of discounted
        rewards up to and with the step that ends a future; -inf for one that was NaN or infinite
        while it lived.
        """
        ...
