"""The backend interface: pure functions over batches, and a store of sessions' state.

Shapes (B is the batch size, Z the latent size):

    encode(observations (B, *shape), state)  → the posterior's arrays, by head (B, …)
    decode(latent (B, Z))                    → observations (B, *shape), if the world has it
    policy(latent (B, Z), state)             → scores (B, width), if the world has it
    step(StepInput)                          → StepOutput

All arrays are C-contiguous and float32, except the actions of any space but a Box: int64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.finite import finite_rows
from dreamserve.errors import BackendError
from dreamserve.heads.base import Shape
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
    action: Actions  # (B, *shape) int64, or float32 for a Box
    state: tuple[Array, ...]  # (B, *shape) each, in the manifest's order
    temperature: Array  # (B,)
    noise: Array  # (B, normal + uniform)
    end: Array | None = None  # (B,) uniforms that decide ends that are drawn; no graph takes them


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """The world's outputs for B dreams."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    done_logit: Array  # (B,)
    state: tuple[Array, ...]  # (B, *shape) each
    head: tuple[Array, ...]  # (B, *shape) each, in the order of the head's `outputs`
    signals: tuple[Array, ...] = ()  # (B,) each

    @classmethod
    def of(cls, arrays: Sequence[Array], states: int, heads: int) -> Self:
        """Return the output with these arrays: `states` recurrent tensors, `heads` of the head."""
        latent, reward, done_logit, *rest = arrays
        ends = states + heads
        return cls(
            latent,
            reward,
            done_logit,
            tuple(rest[:states]),
            tuple(rest[states:ends]),
            tuple(rest[ends:]),
        )

    def arrays(self) -> tuple[Array, ...]:
        """Return all arrays, in the order of `WorldSpec.graph_outputs`."""
        numbers = (self.latent, self.reward, self.done_logit)
        return (*numbers, *self.state, *self.head, *self.signals)

    def is_finite(self) -> Bools:
        """Return whether all numbers that a row's dream goes on with, or shows, are finite, (B,).

        The head's parameters may be infinite.
        """
        numbers = (self.latent, self.reward, self.done_logit)
        return finite_rows(*numbers, *self.state, *self.signals)

    def rows(self, rows: slice) -> Self:
        """Return these rows."""
        return type(self)(
            self.latent[rows],
            self.reward[rows],
            self.done_logit[rows],
            *(tuple(a[rows] for a in part) for part in (self.state, self.head, self.signals)),
        )


def check_shapes(graph: str, arrays: Sequence[Any], shapes: Mapping[str, Shape], rows: int) -> None:
    """Raise BackendError unless a graph's outputs have these shapes, for so many rows.

    A graph may choose a shape by its inputs' values, so each run is checked: what numpy would
    broadcast, or refuse halfway, must not reach the sessions.
    """
    if len(arrays) != len(shapes):
        raise BackendError(f"graph {graph} returned {len(arrays)} arrays, not {len(shapes)}")
    for array, (name, shape) in zip(arrays, shapes.items(), strict=True):
        if array.shape != (rows, *shape):
            raise BackendError(
                f"graph {graph} returned {name} {tuple(array.shape)}, not {(rows, *shape)}"
            )


def head_arrays(spec: WorldSpec) -> int:
    """Return the number of arrays that describe the next latent."""
    return len(spec.head.outputs(spec.latent_size))


def draw_noise(spec: WorldSpec, keys: UInt64) -> tuple[Array, Array | None]:
    """Return `noise` and `end` of a step's input, for keys (B,)."""
    size = spec.noise
    if spec.done.rule == "threshold":
        return noise.draw(keys, size.normal, size.uniform), None
    numbers = noise.draw(keys, size.normal, size.uniform + 1)
    return np.ascontiguousarray(numbers[:, :-1]), numbers[:, -1].copy()


class Backend(Protocol):
    """The graphs of one world on one device."""

    name: str

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        """Return the posterior of each observation; `state` is used by `encode_memory` only."""
        ...

    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step; rows do not influence each other."""
        ...

    def decode(self, latent: Array) -> Array:
        """Return the observation of each latent."""
        ...

    def policy(self, latent: Array, state: State) -> Array:
        """Return the scores of the bundled policy."""
        ...


class PendingStep(Protocol):
    """The results of a step of B dreams, not written to the store yet. Arrays are on the host."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    done_logit: Array  # (B,)
    terminated: Bools  # (B,) whether the world has ended the dream
    finite: Bools  # (B,) false where an output of the world is NaN or infinite
    signals: tuple[Array, ...]  # (B,) each

    def output(self) -> StepOutput:
        """Return all the world's outputs, at least B rows, copied from the device if need be."""
        ...


class StateStore(Protocol):
    """The latents and recurrent states of many dreams, in the backend's memory.

    A slot is the index of a dream's row. A step is staged, checked, and only then committed, so a
    row whose step failed keeps its state.
    """

    def read(self, slots: Int64) -> tuple[Array, State]:
        """Return copies of the rows of `slots` (B,): latent (B, Z) and state (B, *shape) each."""
        ...

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        """Overwrite the rows of `slots` (B,) with latent (B, Z) and state (B, *shape) each."""
        ...

    def stage(self, slots: Int64, action: Actions, keys: UInt64, temperature: Array) -> PendingStep:
        """Advance copies of B different rows by one step.

        `action` is int64 (B,) or (B, A), or float32 (B, A); `keys` (B,) seed each row's noise
        (`dreamserve.noise.draw`); `temperature` is (B,). B is at most the largest batch size.
        """
        ...

    def commit(self, slots: Int64, staged: PendingStep, mask: Bools, latent: Array | None) -> None:
        """Write the rows of a staged step where `mask` (B,) is true.

        `staged` is what `stage` returned for these `slots`; `latent` (B, Z) replaces its latents.
        """
        ...


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that stores sessions' state, and evaluates plans, in its device's own memory."""

    def state_store(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> StateStore:
        """Return a store of `count` rows of zeros; batches are padded to one of the rising `sizes`.

        Raises BackendError if it does not fit into the device's memory.
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
        """Return the returns (N,) of N futures, all of them imagined on the device in one call.

        They start at one latent (1, Z) and state (1, *shape) each, take actions (N, H, …) of the
        space, and draw noise from `keys`: (N, H), or (1, H) if they share it. A return
        is the sum of discounted rewards up to and including the step that ends the future, or -inf
        if an output was NaN or infinite before the end.
        """
        ...
