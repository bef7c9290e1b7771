"""StateStore in the memory of a torch device.

A step copies slots, actions, keys and temperatures to the device, and latents, rewards, done
logits, signals and the mask of finite rows back. States and mixtures stay on the device until they
are requested.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends import torch_noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Bools,
    Int64,
    PendingStep,
    State,
    StepOutput,
    UInt64,
    head_arrays,
)
from dreamserve.backends.host_state import padded
from dreamserve.errors import BackendError
from dreamserve.manifest import WorldSpec

# (latent, action, *state, temperature, noise) → the step's outputs in the manifest's order, float32
Step = Callable[..., tuple[Tensor, ...]]


class TorchPendingStep:
    """A staged step, whose outputs stay on the device."""

    def __init__(
        self, spec: WorldSpec, outputs: Sequence[Tensor], end: Tensor | None, count: int
    ) -> None:
        self._states, self._heads = len(spec.recurrent_state), head_arrays(spec)
        self.outputs = [part[:count] for part in outputs]
        latent, reward, done_logit = self.outputs[:3]
        signals = self.outputs[3 + self._states + self._heads :]
        finite = finite_rows(*checked(self.outputs, self._states, self._heads)).float()
        uniform = finite if end is None else end[:count]
        columns = torch.stack([reward, done_logit, uniform, finite, *signals], dim=1)
        host = torch.cat([latent, columns], dim=1).cpu().numpy()  # one copy for all
        numbers = host[:, spec.latent_size :]
        self.latent: Array = host[:, : spec.latent_size].copy()
        self.reward: Array = numbers[:, 0].copy()
        self.done_logit: Array = numbers[:, 1].copy()
        self.terminated = spec.done.ends(self.done_logit, None if end is None else numbers[:, 2])
        self.finite: Bools = numbers[:, 3] != 0
        self.signals: tuple[Array, ...] = tuple(numbers[:, 4:].T)

    @property
    def state(self) -> list[Tensor]:
        """The recurrent tensors."""
        return self.outputs[3 : 3 + self._states]

    def output(self) -> StepOutput:
        """Return all the world's outputs, copied from the device by this call."""
        return StepOutput.of(list(map(_to_host, self.outputs)), self._states, self._heads)


class TorchStateStore:
    """`count` rows on a device, as one tensor for the latent and one for each state."""

    def __init__(
        self,
        spec: WorldSpec,
        step: Step,
        count: int,
        sizes: Sequence[int],
        device: torch.device,
    ) -> None:
        self._spec, self._step, self._sizes, self._device = spec, step, tuple(sizes), device
        shapes = [(spec.latent_size,), *(t.shape for t in spec.recurrent_state)]
        try:
            self._slabs = [torch.zeros((count, *shape), device=device) for shape in shapes]
        except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU raises a plain one
            gib, line = count * spec.state_bytes() / 2**30, str(error).splitlines()[0]
            raise BackendError(
                f"{count} rows of {spec.state_bytes()} bytes ({gib:.3g} GiB)"
                f" do not fit into the memory of {device}: {line}"
            ) from error

    @torch.inference_mode()
    def read(self, slots: Int64) -> tuple[Array, State]:
        """Return copies of the rows of `slots` (B,): latent (B, Z) and state (B, *shape) each."""
        index = self._to_device(slots)
        latent, *state = (_to_host(slab.index_select(0, index)) for slab in self._slabs)
        return latent, tuple(state)

    @torch.inference_mode()
    def write(self, slots: Int64, latent: Array, state: State) -> None:
        """Overwrite the rows of `slots` (B,) with latent (B, Z) and state (B, *shape) each."""
        for slab, new in zip(self._slabs, (latent, *state), strict=True):
            slab.index_copy_(0, self._to_device(slots), self._to_device(new))

    @torch.inference_mode()
    def stage(
        self, slots: Int64, action: Actions, keys: UInt64, temperature: Array
    ) -> TorchPendingStep:
        """Advance copies of B different rows by one step, and wait for the results."""
        size = self._sizes[bisect_left(self._sizes, len(slots))]
        arrays = (slots, action, keys.view(np.int64), temperature)  # the keys' bits, not values
        index, actions, int_keys, temperatures = (
            self._to_device(padded(part, size)) for part in arrays
        )
        latent, *state = (slab.index_select(0, index) for slab in self._slabs)
        noise, end = step_noise(self._spec, int_keys)
        outputs = self._step(latent, actions, *state, temperatures, noise)
        return TorchPendingStep(self._spec, outputs, end, len(slots))

    @torch.inference_mode()
    def commit(self, slots: Int64, staged: PendingStep, mask: Bools, latent: Array | None) -> None:
        """Write the staged rows where `mask` (B,) is true; `latent` (B, Z) replaces theirs."""
        if not isinstance(staged, TorchPendingStep):
            raise TypeError(f"{staged!r} was not staged by a TorchStateStore")
        new = staged.outputs[0] if latent is None else self._to_device(latent)
        rows = [new, *staged.state]
        index, chosen = self._to_device(slots[mask]), self._to_device(np.flatnonzero(mask))
        for slab, part in zip(self._slabs, rows, strict=True):
            slab.index_copy_(0, index, part.index_select(0, chosen))

    def _to_device(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(array, device=self._device)


def step_noise(spec: WorldSpec, keys: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return a step's `noise` (B, normal + uniform) and `end` (B,), as `base.draw_noise`."""
    size = spec.noise
    if spec.done.rule == "threshold":
        return torch_noise.draw(keys, size.normal, size.uniform), None
    numbers = torch_noise.draw(keys, size.normal, size.uniform + 1)
    return numbers[:, :-1].contiguous(), numbers[:, -1]


def checked(outputs: Sequence[Tensor], states: int, heads: int) -> list[Tensor]:
    """Return the outputs that must be finite: all but those of the head."""
    return [*outputs[: 3 + states], *outputs[3 + states + heads :]]


def finite_rows(*tensors: Tensor) -> Tensor:
    """Return (B,) bool: true where a row of every tensor (B, *shape) is finite."""
    rows = [torch.isfinite(part).reshape(len(part), -1).all(dim=1) for part in tensors]
    return torch.stack(rows).all(dim=0)


def _to_host(rows: Tensor) -> Array:
    return np.array(rows.cpu().numpy())  # a copy, on a CPU too
