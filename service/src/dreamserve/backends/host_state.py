"""StateStore in host memory, for backends that do not store state themselves."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import (
    Actions,
    Array,
    Backend,
    Bools,
    DeviceBackend,
    Int64,
    PendingStep,
    State,
    StateStore,
    StepInput,
    StepOutput,
    UInt64,
    draw_noise,
)
from dreamserve.manifest import WorldSpec


def make_state_store(
    spec: WorldSpec, backend: Backend, count: int, sizes: Sequence[int]
) -> StateStore:
    """Return a store of `count` rows of zeros, the backend's own or one on the host.

    `sizes` are the batch sizes, rising, that a step is padded to. Raises BackendError.
    """
    if isinstance(backend, DeviceBackend):
        # A device's libraries choose kernels by the batch size, which changes the last bits. With
        # one size for all, a dream does not depend on its batch. The cost on a device is small.
        return backend.state_store(spec, count, sizes[-1:])
    return HostStateStore(spec, backend, count, sizes)


@dataclass(slots=True, eq=False)
class HostPendingStep:
    """A step's outputs without the padding rows; `padded` has them."""

    latent: Array
    reward: Array
    done_logit: Array
    terminated: Bools
    finite: Bools
    signals: tuple[Array, ...]
    padded: StepOutput

    def output(self) -> StepOutput:
        return self.padded


class HostStateStore:
    """StateStore as numpy arrays: gather, one call of the graph, scatter.

    The arrays are allocated at once; the operating system commits memory to rows on first use.
    """

    def __init__(self, spec: WorldSpec, backend: Backend, count: int, sizes: Sequence[int]) -> None:
        self._spec, self._backend, self._sizes = spec, backend, tuple(sizes)
        self._latent: Array = np.zeros((count, spec.latent_size), np.float32)
        self._state: State = tuple(
            np.zeros((count, *tensor.shape), np.float32) for tensor in spec.recurrent_state
        )

    def read(self, slots: Int64) -> tuple[Array, State]:
        return self._latent[slots], tuple(part[slots] for part in self._state)

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        index = as_slice(slots)
        self._latent[index] = latent
        for rows, new in zip(self._state, state, strict=True):
            rows[index] = new

    def stage(
        self, slots: Int64, action: Actions, keys: UInt64, temperature: Array
    ) -> HostPendingStep:
        count = len(slots)
        size = self._sizes[bisect_left(self._sizes, count)]
        numbers, end = draw_noise(self._spec, keys)
        index = as_slice(padded(slots, size))
        output = self._backend.step(
            StepInput(
                latent=_gathered(self._latent, index),
                action=padded(action, size),
                state=tuple(_gathered(part, index) for part in self._state),
                temperature=padded(temperature, size),
                noise=padded(numbers, size),
            )
        )
        done_logit = output.done_logit[:count]
        return HostPendingStep(
            output.latent[:count],
            output.reward[:count],
            done_logit,
            self._spec.done.ends(done_logit, end),
            output.is_finite()[:count],
            tuple(part[:count] for part in output.signals),
            output,
        )

    def commit(self, slots: Int64, staged: PendingStep, mask: Bools, latent: Array | None) -> None:
        new = staged.latent if latent is None else latent
        state = tuple(part[: len(slots)] for part in staged.output().state)
        if not mask.all():
            slots, new, state = slots[mask], new[mask], tuple(part[mask] for part in state)
        self.write(slots, new, state)


def padded(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return `rows` (B, …) padded to (size, …) with copies of the first one."""
    missing = size - len(rows)
    return np.concatenate([rows, rows[:1].repeat(missing, axis=0)]) if missing else rows


def _gathered(rows: Array, index: slice | Int64) -> Array:
    return rows[index] if isinstance(index, slice) else rows.take(index, axis=0)


def as_slice(index: Int64) -> slice | Int64:
    """Return unique indices (B,) as a slice if they are consecutive, which saves a copy."""
    count = len(index)
    if not count:
        return slice(0)
    first = int(index[0])
    if count > 1 and (int(index[-1]) - first != count - 1 or (index[1:] - index[:-1] != 1).any()):
        return index
    return slice(first, first + count)
