"""Policies that ignore observations: to collect data with, and as baselines of evaluation.

A policy is an iterator of actions, made for each episode from that episode's generator `rng`.
"""

from collections.abc import Iterator

import numpy as np


def random_actions(rng: np.random.Generator, actions: int) -> Iterator[int]:
    """Yield a uniformly random action at every step."""
    while True:
        yield int(rng.integers(actions))


def sticky_actions(
    rng: np.random.Generator, actions: int, shortest_mean: float = 4.0, longest_mean: float = 64.0
) -> Iterator[int]:
    """Yield random actions, each held for a geometric number of steps.

    The mean hold is drawn once an episode, log-uniformly between the two bounds: short holds
    jitter around the start, long ones sweep the whole room, and the data needs both.
    """
    mean_hold = float(np.exp(rng.uniform(np.log(shortest_mean), np.log(longest_mean))))
    while True:
        action = int(rng.integers(actions))
        for _ in range(int(rng.geometric(1 / mean_hold))):
            yield action


def constant_actions(rng: np.random.Generator, action: int) -> Iterator[int]:
    """Yield `action` for ever."""
    while True:
        yield action


def sweep_actions(rng: np.random.Generator, first: int, second: int, steps: int) -> Iterator[int]:
    """Yield `first` for `steps` steps, `second` for as many, and so on."""
    while True:
        for action in (first, second):
            for _ in range(steps):
                yield action
