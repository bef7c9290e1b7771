"""Policies at work in the dream: many candidates, many episodes, in lockstep on one engine."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve.dream import DreamBatch
from dreamserve.engine.world import World, load_world
from dreamserve_training.models.controller import CONTROLLER_INPUTS, LinearPolicy

Float32 = npt.NDArray[np.float32]


@lru_cache(maxsize=1)
def worker_world(bundle: Path) -> World:
    """Return the world of `bundle`, loaded once a process: that costs more than a short dream."""
    return load_world(bundle, threads=1)


def features(dreams: DreamBatch) -> Float32:
    """Return what a controller reads of B dreams: [z, h], (B, Z + R) float32."""
    known = {"latent": dreams.latent, **dreams.state}
    return np.concatenate([known[name] for name in CONTROLLER_INPUTS], axis=1)


def dream_returns(
    world: World,
    policies: Sequence[LinearPolicy],
    seeds: Sequence[int],
    temperature: float,
    max_steps: int,
) -> tuple[Float32, npt.NDArray[np.int64]]:
    """Return the returns and lengths (P, E) of every policy in the same E dreams.

    All policies face the same seeds: common random numbers make their differences the policies'
    own. A dream that ends leaves the batch at once.
    """
    episodes = len(seeds)
    dreams = DreamBatch(world, np.tile(np.asarray(seeds, np.uint64), len(policies)), temperature)
    row = np.arange(len(policies) * episodes)
    returns, lengths = np.zeros(len(row), np.float32), np.zeros(len(row), np.int64)
    for _ in range(max_steps):
        reward, terminated = dreams.step(_act(policies, row // episodes, features(dreams)))
        returns[row] += reward
        lengths[row] += 1
        if terminated.any():
            dreams.keep(~terminated)
            row = row[~terminated]
            if not len(row):
                break
    shape = (len(policies), episodes)
    return returns.reshape(shape), lengths.reshape(shape)


def _act(
    policies: Sequence[LinearPolicy], owner: npt.NDArray[np.int64], read: Float32
) -> npt.NDArray[np.int64]:
    """Return each row's action; rows lie sorted by the policy that owns them."""
    bounds = np.searchsorted(owner, np.arange(len(policies) + 1))
    parts = [
        policy.act(read[begin:end])
        for policy, begin, end in zip(policies, bounds, bounds[1:], strict=False)
        if begin < end
    ]
    return np.concatenate(parts)
