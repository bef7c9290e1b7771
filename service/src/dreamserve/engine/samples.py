"""Samples: many futures from one present, all of them answered."""

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools
from dreamserve.backends.rows import finite_rows
from dreamserve.engine.actors import actor_of
from dreamserve.engine.futures import Futures, Present
from dreamserve.engine.pixels import to_pixels
from dreamserve.engine.policies import Policy
from dreamserve.engine.types import SampleResult, UInt8
from dreamserve.engine.work import Work
from dreamserve.engine.world import World
from dreamserve.errors import DreamNotFiniteError
from dreamserve.noise import UInt64

_FRAMES_AT_ONCE = 16


def sample(
    present: Present,
    actions: Actions,
    seeds: UInt64,
    frames: bool,
    slice_rows: int,
    policy: Policy | None = None,
) -> Work[SampleResult]:
    """Return the futures under actions (N, H, …), or under a policy, which writes them there.

    Raises DreamNotFiniteError.
    """
    count, horizon = actions.shape[:2]
    spec = present.world.spec
    latents = np.empty((count, horizon, spec.latent_size), np.float32)
    rewards = np.empty((count, horizon), np.float32)
    ended = np.empty((count, horizon), np.bool_)
    pictures = np.empty((count, horizon, *spec.frame.shape), np.uint8) if frames else None
    for first in range(0, count, slice_rows):
        rows = slice(first, first + slice_rows)
        futures = Futures.of(present, len(seeds[rows]), seeds[rows], noise.SAMPLE)
        actor = None if policy is None else actor_of(present.world, policy, len(futures))
        for t in range(horizon):
            if actor is not None:
                actions[rows, t], sound = actor.act(futures)
                _check(sound, first, t, "has a policy whose scores are NaN")
            moment = yield from futures.advance(actions[rows, t])
            assert moment is not None  # there is no deadline
            _check(moment.finite, first, t, "is NaN or infinity")
            latents[rows, t], rewards[rows, t] = moment.latent, moment.reward
            ended[rows, t] = moment.ended
            if pictures is not None:
                pictures[rows, t] = yield from _decode(present.world, moment.latent)
    return SampleResult(latents, rewards, ended, pictures)


def _check(good: Bools, first: int, t: int, said: str) -> None:
    if not good.all():
        future = first + int(np.argmin(good))
        raise DreamNotFiniteError(f"future {future} {said} at its step {t + 1}")


def _decode(world: World, latent: Array) -> Work[UInt8]:
    """Return the pictures of latent (B, Z), a few at a time."""
    parts = []
    for first in range(0, len(latent), _FRAMES_AT_ONCE):
        decoded = world.backend.decode(latent[first : first + _FRAMES_AT_ONCE])
        if not finite_rows(decoded).all():
            raise DreamNotFiniteError("a future's frame came out as NaN or infinity")
        parts.append(to_pixels(world.spec.frame, decoded))
        yield None
    return np.concatenate(parts)
