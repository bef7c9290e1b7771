"""The dynamics of a dream: its start and its step.

`DreamBatch` uses `advance`; samples, plans and rollouts yield a `WorldCall`, and calls are computed
together (`compute`); sessions step on state that the backend stores (`backends.base`). All
functions are pure; a row's outcome depends on that row only.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Bools,
    Int64,
    State,
    StepInput,
    StepOutput,
    UInt64,
    draw_noise,
)
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.pixels import Shown, to_input, to_numbers
from dreamserve.engine.world import World
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import DreamNotFiniteError

# Uses of the step numbers of the RESET stream.
_INDEX, _LATENT, _BURN_IN = 0, 1, 2
# Encoding is the longest call of a start; small batches keep other requests from waiting.
_FRAMES_AT_ONCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Advanced:
    """B dreams, one step later."""

    output: StepOutput  # all outputs of the world, including the head's
    terminated: Bools  # (B,)
    finite: Bools  # (B,) false where an output is NaN or infinity

    @property
    def latent(self) -> Array:
        """Latents after the step, (B, Z)."""
        return self.output.latent

    @property
    def state(self) -> State:
        """Their recurrent tensors, (B, *shape) each."""
        return self.output.state

    @property
    def reward(self) -> Array:
        """Rewards of the step, (B,)."""
        return self.output.reward


@dataclass(frozen=True, slots=True, eq=False)
class WorldCall:
    """One step of B dreams, to be computed."""

    world: World
    batch: StepInput
    until_s: float = inf  # deadline by the engine's clock

    def __len__(self) -> int:
        return len(self.batch.latent)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of long work, at most; all else that it needs grows with its world only."""

    steps: int  # imagined steps, or rows of a batch
    memory_bytes: int  # of its arrays, until its result is sent


SMALL = Size(0, 0)

R = TypeVar("R")

# Long work: a generator that yields wherever other work may run. It yields None to give up the rest
# of its time slice, or a call of the world, which its driver may compute together with other calls
# (`scheduling.slices`). It receives the outcome, or None if the deadline came first. The first
# thing that it yields may be its size: it allocates its arrays only afterwards.
Work = Generator[WorldCall | Size | None, Advanced | None, R]


def compute(calls: Sequence[WorldCall]) -> list[Advanced]:
    """Compute calls of one world by one call of its graph."""
    world = calls[0].world
    batch = _concatenate([call.batch for call in calls])
    output = world.backend.step(batch)
    terminated = world.spec.done.ends(output.done_logit, batch.end)
    finite = output.is_finite()
    if len(calls) == 1:
        return [Advanced(output, terminated, finite)]
    ends = np.cumsum([len(call) for call in calls]).tolist()
    parts = [slice(end - len(call), end) for call, end in zip(calls, ends, strict=True)]
    return [Advanced(output.rows(part), terminated[part], finite[part]) for part in parts]


def advance(
    world: World,
    latent: Array,
    state: State,
    action: Actions,
    seed: UInt64,
    step: Int64,
    temperature: Array,
    stream: int = noise.STEP,
) -> Advanced:
    """Advance B dreams by one step, immediately.

    latent (B, Z), state (B, *shape) each, action (B, …) of the space, seed uint64 (B,),
    step int64 (B,): the number of the step; temperature float32 (B,).
    """
    numbers = draw_noise(world.spec, noise.keys(seed, step, stream))
    batch = StepInput(latent, action, state, temperature, *numbers)
    return compute([WorldCall(world, batch)])[0]


def _concatenate(batches: Sequence[StepInput]) -> StepInput:
    if len(batches) == 1:
        return batches[0]
    ends: Any = None if batches[0].end is None else [batch.end for batch in batches]
    return StepInput(
        latent=np.concatenate([batch.latent for batch in batches]),
        action=np.concatenate([batch.action for batch in batches]),
        state=tuple(map(np.concatenate, zip(*(batch.state for batch in batches), strict=True))),
        temperature=np.concatenate([batch.temperature for batch in batches]),
        noise=np.concatenate([batch.noise for batch in batches]),
        end=None if ends is None else np.concatenate(ends),
    )


def empty_state(world: World, rows: int) -> State:
    """Return the initial recurrent state: zeros."""
    return tuple(np.zeros((rows, *t.shape), np.float32) for t in world.spec.recurrent_state)


def start_from_bank(
    world: World, seed: UInt64, index: Int64 | None = None, age: int | str = "beginning"
) -> tuple[Array, State]:
    """Return latent (B, Z) and state of dreams that start at bank entries `index` (B,).

    Without an index, the seeds select among the entries of that age. Latents are drawn from the
    entries' posteriors.
    """
    steps = np.full(len(seed), _INDEX, np.int64)
    if index is None:
        entries = world.entries(age)
        index = entries[noise.integers(noise.keys(seed, steps, noise.RESET), len(entries))]
    latent = world.spec.head.draw(tuple(part[index] for part in world.prepared), _draw_keys(seed))
    return latent, tuple(world.bank[f"state.{t.name}"][index] for t in world.spec.recurrent_state)


def start(
    world: World, given: Start | None, seed: int, temperature: float
) -> Generator[None, None, tuple[Array, State]]:
    """Begin one dream: return latent (1, Z) and state (1, *shape) each, yielding between calls.

    `given` is validated. It yields only for frames. Raises
    DreamNotFiniteError.
    """
    return (yield from starts(world, given, np.array([seed], np.uint64), temperature))


def starts(
    world: World, given: Start | None, seeds: UInt64, temperature: float
) -> Generator[None, None, tuple[Array, State]]:
    """Begin a dream for each seed (B,) at one start: return latent (B, Z) and state; as `start`."""
    rows = len(seeds)
    if given is not None and given.age is not None:
        return start_from_bank(world, seeds, age=given.age)
    if given is None or given.bank is not None:
        index = None if given is None else np.full(rows, given.bank)
        return start_from_bank(world, seeds, index)
    if given.latent is not None:
        return np.asarray(given.latent)[None].repeat(rows, axis=0), empty_state(world, rows)
    seen, actions = np.asarray(given.observations), np.asarray(given.actions)
    burn_in = _burn_in_with_memory if world.spec.encode_memory else _burn_in
    return (yield from burn_in(world, seen, actions, seeds, temperature))


def _burn_in(
    world: World, seen: Shown, actions: Actions, seed: UInt64, temperature: float
) -> Generator[None, None, tuple[Array, State]]:
    """Compute the recurrent state from observations and actions (burn-in); start at the last."""
    rows = len(seed)
    encoded = []
    for first in range(0, len(seen), _FRAMES_AT_ONCE):
        yield
        numbers = _numbers(world, seen[first : first + _FRAMES_AT_ONCE])
        encoded.append(world.backend.encode(numbers))
    posterior = tuple(map(np.concatenate, zip(*encoded, strict=True)))
    modes, head = world.spec.head.mode(posterior), world.spec.head
    state, temperatures = empty_state(world, rows), np.full(rows, temperature, np.float32)
    for t in range(len(seen) - 1):
        yield
        step = np.full(rows, _BURN_IN + t)
        action = actions[t : t + 1].repeat(rows, axis=0)
        latent = modes[t : t + 1].repeat(rows, axis=0)
        state = advance(world, latent, state, action, seed, step, temperatures, noise.RESET).state
    latent = head.draw(head.prepared(tuple(part[-1:] for part in posterior)), _draw_keys(seed))
    return _checked(world, latent, state)


def _burn_in_with_memory(
    world: World, seen: Shown, actions: Actions, seed: UInt64, temperature: float
) -> Generator[None, None, tuple[Array, State]]:
    """Burn in where `encode` takes the recurrent state, which is the same for all seeds."""
    head, state = world.spec.head, empty_state(world, 1)
    for t in range(len(seen)):
        yield
        posterior = world.backend.encode(_numbers(world, seen[t : t + 1]), state)
        if t == len(seen) - 1:
            break
        taken = (seed[:1], np.array([_BURN_IN + t]), np.full(1, temperature, np.float32))
        mode, action = head.mode(posterior), actions[t : t + 1]
        state = advance(world, mode, state, action, *taken, noise.RESET).state
    latent = head.draw(head.prepared(posterior), _draw_keys(seed))
    return _checked(world, latent, tuple(part.repeat(len(seed), axis=0) for part in state))


def _numbers(world: World, seen: Shown) -> Array:
    spec = world.spec.observation
    return to_numbers(spec, to_input(spec, seen))


def _checked(world: World, latent: Array, state: State) -> tuple[Array, State]:
    if not finite_rows(latent, *state).all():
        kind = world.spec.observation.field
        raise DreamNotFiniteError(f"{world.name}: these {kind}s lead to NaN or infinity")
    return latent, state


def _draw_keys(seed: UInt64) -> UInt64:
    """Return the keys (B,) by which first latents are drawn."""
    return noise.keys(seed, np.full(len(seed), _LATENT, np.int64), noise.RESET)
