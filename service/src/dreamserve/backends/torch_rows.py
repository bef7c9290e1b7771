"""Rows of dreams in the memory of a torch device, and their step without a way back.

A step of B rows is one copy in (slots, actions, keys, temperatures), one recording of gather,
noise, graph and packing, and one copy out (latents, rewards, done logits, what is finite). States
and mixtures never leave the device unless somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from dreamserve.backends.base import (
    Actions,
    Array,
    Bools,
    Int64,
    Staged,
    State,
    StepOutput,
    UInt64,
)
from dreamserve.backends.check import input_shapes, output_shapes
from dreamserve.backends.torch_noise import Noise
from dreamserve.backends.torch_record import Parcel, Recorder, check_room, refused_if_full
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import DiscreteSpace

# (latent, action, *state, temperature, noise) → the step's outputs in the manifest's order, float32
Step = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The step of one size of batch."""

    size: int
    parcel: Parcel  # slots, keys, action, temperature
    run: Callable[[], tuple[Tensor, ...]]  # the packed answers, then the step's outputs
    answers: Tensor  # the packed answers on the host: latent, reward, done logit, not finite


class TorchStaged:
    """A staged step. The rest of it lies in memory that the rows' next step writes over.

    The arrays are copies and stay. `output` and `TorchRows.commit` raise RuntimeError once
    another step was staged.
    """

    def __init__(
        self, rows: "TorchRows", program: Program, count: int, outputs: tuple[Tensor, ...]
    ) -> None:
        size, width = program.size, outputs[0].shape[1]
        packed = program.answers.numpy()
        self.latent: Array = packed[: size * width].reshape(size, width)[:count].copy()
        reward, done_logit, lost = packed[size * width :].reshape(3, size)[:, :count]
        self.reward: Array = reward.copy()
        self.done_logit: Array = done_logit.copy()
        self.finite: Bools = lost == 0
        self.rows, self.program, self.count, self.outputs = rows, program, count, outputs

    def output(self) -> StepOutput:
        """Return all that the world answered, copied from the device now."""
        return self.rows.output_of(self)


class TorchRows:
    """`count` rows on a device, as tensors of count + 1 rows.

    The last one is scratch: batches are filled up with it, and rows that went wrong are written
    there, so that shapes stay the same. Nobody reads what became of it.

    On CUDA a row's answer may differ in its last bits from one size of batch to another, because
    cuBLAS chooses its kernels by size; within one size a row does not depend on the others.
    """

    def __init__(
        self, spec: WorldSpec, step: Step, count: int, sizes: Sequence[int], recorder: Recorder
    ) -> None:
        self._spec, self._step, self.recorder = spec, step, recorder
        self._count, self._sizes = count, tuple(sizes)
        self._states = len(spec.recurrent_state)
        self._last: TorchStaged | None = None
        what = f"{count} rows of {spec.state_bytes()} bytes and steps of up to {sizes[-1]}"
        device = recorder.device
        check_room(what, _needed_bytes(spec, count, self._sizes), device)
        # Inside `work`: what is filled with zeros on one stream must not be read on another.
        with recorder.work(), refused_if_full(what, device):
            shapes = [(spec.latent_size,), *(t.shape for t in spec.recurrent_state)]
            self._slabs = [torch.zeros((count + 1, *shape), device=device) for shape in shapes]
            self._noise = Noise(spec.noise.normal, spec.noise.uniform, device)
            # The largest first: the others then find room in its scratch memory.
            programs = {size: self._program(size) for size in reversed(self._sizes)}
            recorder.wait()
        self.programs = programs

    def read(self, slot: int) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        with self.recorder.work():
            latent, *state = (_to_host(slab[slot : slot + 1]) for slab in self._slabs)
        return latent, tuple(state)

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        """Overwrite the rows of `slots` (B,): latent (B, Z), state (B, *shape) each."""
        device = self.recorder.device
        with self.recorder.work():
            there = torch.tensor(slots, device=device)
            for slab, new in zip(self._slabs, (latent, *state), strict=True):
                slab.index_copy_(0, there, torch.tensor(new, device=device))

    def stage(self, slots: Int64, action: Actions, keys: UInt64, temperature: Array) -> TorchStaged:
        """Advance copies of B different rows by one step, and wait for the answers."""
        count = len(slots)
        program = self.programs[self._sizes[bisect_left(self._sizes, count)]]
        host = program.parcel.host
        host["slots"][:count], host["slots"][count:] = slots, self._count
        host["keys"][:count] = keys.view(np.int64)  # the same bits
        host["action"][:count], host["temperature"][:count] = action, temperature
        with self.recorder.work():
            program.parcel.send()
            answers, *outputs = program.run()
            program.answers.copy_(answers, non_blocking=True)
            self.recorder.wait()
        self._last = TorchStaged(self, program, count, tuple(outputs))
        return self._last

    def commit(self, slots: Int64, staged: Staged, good: Bools, latent: Array | None) -> None:
        """Write the staged rows where `good` (B,), `latent` (B, Z) in place of theirs if given."""
        mine = self._latest(staged)
        parcel, device = mine.program.parcel, self.recorder.device
        with self.recorder.work():
            if not good.all():
                parcel.host["slots"][: len(slots)][~good] = self._count
                parcel.send()
            new = list(mine.outputs[:1] + mine.outputs[3 : 3 + self._states])
            if latent is not None:
                new[0] = new[0].clone()
                new[0][: len(latent)] = torch.tensor(latent, device=device)
            for slab, rows in zip(self._slabs, new, strict=True):
                slab.index_copy_(0, parcel.device["slots"], rows)
            if not good.all():
                self.recorder.wait()  # the next step fills the parcel's memory on the host

    def output_of(self, staged: TorchStaged) -> StepOutput:
        """Return all that a staged step answered. Raises RuntimeError after the next one."""
        with self.recorder.work():
            arrays = [_to_host(part[: staged.count]) for part in self._latest(staged).outputs]
        latent, reward, done_logit, *rest = arrays
        return StepOutput(latent, reward, done_logit, tuple(rest[: self._states]), *rest[-3:])

    def _latest(self, staged: Staged) -> TorchStaged:
        if self._last is None or staged is not self._last:
            raise RuntimeError("another step was staged since: its answers lie where these lay")
        return self._last

    def _program(self, size: int) -> Program:
        device, spec = self.recorder.device, self._spec
        shape = input_shapes(spec)["step"]["action"]
        discrete = isinstance(spec.action_space, DiscreteSpace)
        layout = {
            "slots": ((size,), torch.int64),
            "keys": ((size,), torch.int64),
            "action": ((size, *shape), torch.int64 if discrete else torch.float32),
            "temperature": ((size,), torch.float32),
        }
        parcel = Parcel(layout, device)
        parcel.host["slots"][:] = self._count
        parcel.send()
        answers = torch.empty(size * (spec.latent_size + 3), pin_memory=device.type == "cuda")
        run = self.recorder.record(lambda: self._advance(parcel.device))
        return Program(size, parcel, run, answers)

    def _advance(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        latent, *state = (slab.index_select(0, given["slots"]) for slab in self._slabs)
        numbers = self._noise.draw(given["keys"])
        outputs = self._step(latent, given["action"], *state, given["temperature"], numbers)
        new, reward, done_logit, *rest = outputs
        lost = lost_rows(new, reward, done_logit, rest[: self._states])
        return torch.cat([new.reshape(-1), reward, done_logit, lost]), *outputs


def lost_rows(
    latent: Tensor, reward: Tensor, done_logit: Tensor, state: Sequence[Tensor]
) -> Tensor:
    """Return (B,) float32: 0 for a row whose every number is finite, NaN for another."""
    # One kernel a tensor: the largest magnitude of a row is NaN or infinite as soon as one is.
    largest = [largest_magnitude(part) for part in (latent, *state)]
    return (torch.stack([*largest, reward, done_logit]) * 0).sum(0)


def largest_magnitude(rows: Tensor) -> Tensor:
    """Return (B,): the largest magnitude in each of `rows` (B, *shape), NaN where there is one."""
    if rows.ndim == 1:
        return rows
    largest: Tensor = torch.linalg.vector_norm(rows.flatten(1), ord=float("inf"), dim=1)
    return largest


def _needed_bytes(spec: WorldSpec, count: int, sizes: Sequence[int]) -> int:
    shapes = [*input_shapes(spec)["step"].values(), *output_shapes(spec)["step"].values()]
    step_bytes = 8 * sum(prod(shape) for shape in shapes)  # with as much again for scratch
    return (count + 1) * spec.state_bytes() + sum(sizes) * step_bytes


def _to_host(rows: Tensor) -> Array:
    return np.array(rows.cpu().numpy())  # a copy, on a CPU too
