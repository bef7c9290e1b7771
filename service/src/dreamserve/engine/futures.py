"""Looking ahead from a present without moving it: samples, and the values that planners ask for.

Work of some length, so these are generators: each runs until a `yield` comes after every call of
the world, and the engine decides when it goes on. One call takes at most `slice_rows` rows.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, KeepsRows, State
from dreamserve.backends.rows import finite_rows
from dreamserve.engine.pixels import to_pixels
from dreamserve.engine.runner import advance
from dreamserve.engine.types import SampleResult, UInt8
from dreamserve.engine.world import World
from dreamserve.errors import DreamNotFiniteError
from dreamserve.noise import UInt64

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """Where futures begin: a copy, so that the session may go on meanwhile."""

    world: World
    latent: Array  # (1, Z)
    state: State  # (1, *shape) each
    step: int
    temperature: float


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """B futures at one step. An ended one stands still and earns nothing."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    ended: Bools  # (B,)
    finite: Bools  # (B,) false from the first NaN or infinity on


def unroll(present: Present, actions: Actions, seeds: UInt64, stream: int) -> Iterator[Moment]:
    """Dream B futures under actions (B, H, …), one moment a step.

    Seeds are (B,), or (1,): common random numbers, the same luck for all.
    """
    rows, world = len(actions), present.world
    latent = np.repeat(present.latent, rows, axis=0)
    state = tuple(np.repeat(part, rows, axis=0) for part in present.state)
    temperature = np.full(rows, present.temperature, np.float32)
    alive, finite = np.ones(rows, np.bool_), np.ones(rows, np.bool_)
    for t in range(actions.shape[1]):
        step = np.full(len(seeds), present.step + 1 + t)
        action: Actions = actions[:, t].copy()  # the backend takes contiguous arrays
        new = advance(world, latent, state, action, seeds, step, temperature, stream)
        finite = finite & (new.finite | ~alive)
        latent = new.latent if alive.all() else np.where(alive[:, None], new.latent, latent)
        reward = np.where(alive, new.reward, np.float32(0))
        alive = alive & ~new.terminated
        state = new.state
        yield Moment(latent, reward, ~alive, finite)


def evaluate(
    present: Present, actions: Actions, seed: int, discount: float, slice_rows: int
) -> Generator[None, None, Values]:
    """Return the discounted sum of rewards (N,) that each of actions (N, H, …) earns.

    All candidates meet the same luck, that of `seed`, so that they are told apart by what they
    do. A future that comes out as NaN or infinity is worth -inf: it always loses.
    """
    luck = np.array([seed], np.uint64)
    backend, world = present.world.backend, present.world
    if isinstance(backend, KeepsRows):  # all at once, where the state lives
        steps = present.step + 1 + np.arange(actions.shape[1])
        keys = noise.keys(luck, steps, noise.PLAN)[None]  # (1, H)
        now = (present.latent, present.state)
        whole = backend.returns(world.spec, *now, actions, keys, present.temperature, discount)
        yield
        return whole
    values = np.zeros(len(actions))
    for first in range(0, len(actions), slice_rows):
        rows = slice(first, first + slice_rows)
        weight = 1.0
        for moment in unroll(present, actions[rows], luck, noise.PLAN):
            values[rows] += weight * np.where(moment.finite, moment.reward, 0.0)
            weight *= discount
            yield
            if moment.ended.all():
                break
        values[rows][~moment.finite] = -np.inf
    return values


def sample(
    present: Present, actions: Actions, seeds: UInt64, frames: bool, slice_rows: int
) -> Generator[None, None, SampleResult]:
    """Return the futures under actions (N, H, …). Raises DreamNotFiniteError."""
    count, horizon = actions.shape[:2]
    spec = present.world.spec
    latents = np.empty((count, horizon, spec.latent_size), np.float32)
    rewards = np.empty((count, horizon), np.float32)
    ended = np.empty((count, horizon), np.bool_)
    pictures = np.empty((count, horizon, *spec.frame.shape), np.uint8) if frames else None
    for first in range(0, count, slice_rows):
        rows = slice(first, first + slice_rows)
        for t, moment in enumerate(unroll(present, actions[rows], seeds[rows], noise.SAMPLE)):
            yield
            if not moment.finite.all():
                future = first + int(np.argmin(moment.finite))
                raise DreamNotFiniteError(f"future {future} is NaN or infinity at its step {t + 1}")
            latents[rows, t], rewards[rows, t] = moment.latent, moment.reward
            ended[rows, t] = moment.ended
            if pictures is not None:
                pictures[rows, t] = yield from _decode(present.world, moment.latent)
    return SampleResult(latents, rewards, ended, pictures)


_FRAMES_AT_ONCE = 16


def _decode(world: World, latent: Array) -> Generator[None, None, UInt8]:
    """Return the pictures of latent (B, Z), a few at a time."""
    parts = []
    for first in range(0, len(latent), _FRAMES_AT_ONCE):
        decoded = world.backend.decode(latent[first : first + _FRAMES_AT_ONCE])
        if not finite_rows(decoded).all():
            raise DreamNotFiniteError("a future's frame came out as NaN or infinity")
        parts.append(to_pixels(world.spec.frame, decoded))
        yield
    return np.concatenate(parts)


def subseeds(seed: int, count: int, stream: int) -> UInt64:
    """Return `count` seeds that follow from one, for futures of their own luck."""
    return noise.keys(np.full(count, seed, np.uint64), np.arange(count), stream)


def uniforms(seed: int, number: int, shape: tuple[int, ...]) -> Any:
    """Return uniforms in (0, 1) for choosing actions, a pure function of (seed, number)."""
    key = noise.keys(np.array([seed], np.uint64), np.array([number]), noise.ACTION)
    return noise.draw(key, 0, int(np.prod(shape))).reshape(shape)
