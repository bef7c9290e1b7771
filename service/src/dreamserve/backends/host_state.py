"""StateStore in this process's memory, for any backend that has no memory of its own."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Backend,
    Bools,
    Int64,
    KeepsState,
    PendingStep,
    State,
    StateStore,
    StepInput,
    StepOutput,
    UInt64,
)
from dreamserve.backends.finite import finite_rows
from dreamserve.manifest import WorldSpec


def make_state_store(
    spec: WorldSpec, backend: Backend, count: int, sizes: Sequence[int]
) -> StateStore:
    """Return `count` rows of zeros where this backend keeps them; `sizes` as in KeepsState."""
    if isinstance(backend, KeepsState):
        # A device's libraries choose kernels by the batch's size, which changes the last bits. With
        # one size for all, a dream does not depend on its batch. The cost on a device is small.
        return backend.rows(spec, count, sizes[-1:])
    return HostStateStore(spec, backend, count, sizes)


@dataclass(slots=True, eq=False)
class HostPendingStep:
    """A step's outputs without the rows that filled up the batch."""

    latent: Array
    reward: Array
    done_logit: Array
    finite: Bools
    whole: StepOutput

    def output(self) -> StepOutput:
        """Return all that the world answered."""
        return self.whole


class HostStateStore:
    """StateStore as numpy arrays: gather, one call of the graph, scatter.

    They are reserved at once, and untouched rows cost no memory yet.
    """

    def __init__(self, spec: WorldSpec, backend: Backend, count: int, sizes: Sequence[int]) -> None:
        self._backend, self._noise, self._sizes = backend, spec.noise, tuple(sizes)
        self._latent: Array = np.zeros((count, spec.latent_size), np.float32)
        self._state: State = tuple(
            np.zeros((count, *tensor.shape), np.float32) for tensor in spec.recurrent_state
        )

    def read(self, slot: int) -> tuple[Array, State]:
        row = slice(slot, slot + 1)
        return self._latent[row].copy(), tuple(part[row].copy() for part in self._state)

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        where = span(slots)
        self._latent[where] = latent
        for rows, new in zip(self._state, state, strict=True):
            rows[where] = new

    def stage(
        self, slots: Int64, action: Actions, keys: UInt64, temperature: Array
    ) -> HostPendingStep:
        count = len(slots)
        size = self._sizes[bisect_left(self._sizes, count)]
        numbers = noise.draw(keys, self._noise.normal, self._noise.uniform)
        where = span(filled(slots, size))
        output = self._backend.step(
            StepInput(
                latent=_gathered(self._latent, where),
                action=filled(action, size),
                state=tuple(_gathered(part, where) for part in self._state),
                temperature=filled(temperature, size),
                noise=filled(numbers, size),
            )
        )
        latent, reward, done_logit = output.latent, output.reward, output.done_logit
        finite = finite_rows(latent, reward, done_logit, *output.state)
        return HostPendingStep(
            latent[:count], reward[:count], done_logit[:count], finite[:count], output
        )

    def commit(self, slots: Int64, staged: PendingStep, good: Bools, latent: Array | None) -> None:
        new = staged.latent if latent is None else latent
        state = tuple(part[: len(slots)] for part in staged.output().state)
        if not good.all():
            slots, new, state = slots[good], new[good], tuple(part[good] for part in state)
        self.write(slots, new, state)


def filled(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return `rows` (B, …) with the first one again at the end, as often as it takes."""
    missing = size - len(rows)
    return np.concatenate([rows, rows[:1].repeat(missing, axis=0)]) if missing else rows


def _gathered(rows: Array, where: slice | Int64) -> Array:
    return rows[where] if isinstance(where, slice) else rows.take(where, axis=0)


def span(index: Int64) -> slice | Int64:
    """Return different indices (B,) as a slice where they are one after the other: no copy then."""
    count = len(index)
    if not count:
        return slice(0)
    first = int(index[0])
    if count > 1 and (int(index[-1]) - first != count - 1 or (index[1:] - index[:-1] != 1).any()):
        return index
    return slice(first, first + count)
