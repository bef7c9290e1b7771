"""Policies that ignore observations, for collecting data and as baselines of evaluation.

A policy is an iterator over the actions of one episode, made from the episode's generator and the
world's action space.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from dreamserve.spaces import ActionSpace, BoxSpace

Policy = Callable[[np.random.Generator, ActionSpace], Iterator[Any]]


def random_actions(rng: np.random.Generator, space: ActionSpace) -> Iterator[Any]:
    """Yield uniformly random actions."""
    while True:
        yield space.single(space.uniform(rng.random(space.shape, np.float32)))


def sticky_actions(
    rng: np.random.Generator, space: ActionSpace, shortest: float = 1.0, longest: float = 16.0
) -> Iterator[Any]:
    """Yield random actions that last: the data then reaches more than one action at a time does.

    Each choice of a Discrete, MultiDiscrete or MultiBinary action is repeated for a geometrically
    distributed number of steps, each component on its own; a Box's components are uniform noise
    that is correlated over as many steps. The mean duration is drawn once per episode,
    log-uniformly from `shortest` to `longest` steps. Raises ValueError as `check_durations` does.
    """
    check_durations(shortest, longest)
    mean_steps = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    if isinstance(space, BoxSpace):
        return _correlated_actions(rng, space, mean_steps)
    return _repeated_actions(rng, space, mean_steps)


def check_durations(shortest: float, longest: float) -> None:
    """Raise ValueError unless random actions can last from `shortest` to `longest` steps."""
    if not 1 <= shortest <= longest:
        raise ValueError(
            f"shortest {shortest:g} must be at most longest, {longest:g}, and at least 1"
        )


def _repeated_actions(
    rng: np.random.Generator, space: ActionSpace, mean_steps: float
) -> Iterator[Any]:
    uniforms = rng.random(space.shape, np.float32)
    left = rng.geometric(1 / mean_steps, space.shape)  # steps of each component's choice
    while True:
        yield space.single(space.uniform(uniforms))
        left = left - 1
        is_over = left == 0
        uniforms = np.where(is_over, rng.random(space.shape, np.float32), uniforms)
        left = np.where(is_over, rng.geometric(1 / mean_steps, space.shape), left)


def _correlated_actions(
    rng: np.random.Generator, space: BoxSpace, mean_steps: float
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield a stationary Gaussian process of unit variance, mapped to the uniform distribution."""
    kept = np.exp(-1 / mean_steps) if mean_steps > 1 else 0.0
    noise = rng.standard_normal(space.shape)
    while True:
        yield space.single(space.uniform(ndtr(noise).astype(np.float32)))
        noise = kept * noise + np.sqrt(1 - kept**2) * rng.standard_normal(space.shape)


def repeated_sequence(
    rng: np.random.Generator, space: ActionSpace, actions: Sequence[Any]
) -> Iterator[Any]:
    """Yield `actions` in their order, again and again."""
    while True:
        yield from actions


def varied_sequence(
    rng: np.random.Generator, space: ActionSpace, sequences: Sequence[Sequence[Any]]
) -> Iterator[Any]:
    """Yield one of `sequences` again and again, up to twice as fast or as slowly.

    The sequence, its pace (log-uniform) and the step it begins at are drawn once per episode.
    """
    actions = sequences[int(rng.integers(len(sequences)))]
    pace, start = 2 ** rng.uniform(-1, 1), rng.uniform(0, len(actions))
    for step in count():
        yield actions[int(start + step * pace) % len(actions)]
