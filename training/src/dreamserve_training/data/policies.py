"""Policies that ignore observations, for collecting data and as baselines of evaluation.

A policy is an iterator over the actions of one episode, made from the episode's generator `rng`.
"""

from collections.abc import Iterator

import numpy as np


def random_actions(rng: np.random.Generator, actions: int) -> Iterator[int]:
    """Yield uniformly random actions."""
    while True:
        yield int(rng.integers(actions))


def sticky_actions(
    rng: np.random.Generator, actions: int, shortest_mean: float = 4.0, longest_mean: float = 64.0
) -> Iterator[int]:
    """Yield random actions, each repeated for a geometrically distributed number of steps.

    The mean duration is drawn once per episode, log-uniformly between the two bounds: short
    durations stay near the start, long ones cross the room, and the data needs both.
    """
    mean_steps = float(np.exp(rng.uniform(np.log(shortest_mean), np.log(longest_mean))))
    while True:
        action = int(rng.integers(actions))
        for _ in range(int(rng.geometric(1 / mean_steps))):
            yield action


def constant_actions(rng: np.random.Generator, action: int) -> Iterator[int]:
    """Yield `action` at every step."""
    while True:
        yield action


def sweep_actions(rng: np.random.Generator, first: int, second: int, steps: int) -> Iterator[int]:
    """Yield `first` for `steps` steps, then `second` for `steps` steps, and repeat."""
    while True:
        for action in (first, second):
            for _ in range(steps):
                yield action
