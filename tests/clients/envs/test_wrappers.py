"""Gymnasium's own vector wrappers, unmodified, have right numbers in every autoreset mode.

What is right is computed from single environments, one after another.
"""

from typing import NamedTuple

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.utils import RunningMeanStd
from gymnasium.wrappers.vector import NormalizeObservation, NormalizeReward, RecordEpisodeStatistics

STEPS = 7
MODES = list(AutoresetMode)
GAMMA = 0.9


class Seen(NamedTuple):
    """A step of a vector environment."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: dict


def run(env, actions) -> tuple[dict, list[Seen]]:
    """Return the first infos and all steps; with DISABLED, what has ended is reset between them."""
    _, first = env.reset(seed=2)
    steps = []
    for taken in actions:
        seen = Seen(*env.step(taken))
        over = seen.terminated | seen.truncated
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
            seen.infos.update({"_episode": over.copy()})  # a reset changes the wrapper's own
            _, infos = env.reset(options={"reset_mask": over})
            seen.infos.update({name: infos[name] for name in ("seed", "_seed")})
        steps.append(seen)
    return first, steps


def plain(make, first, steps, actions, mode):
    """Dream the same by single environments, whose seeds are those that the infos name.

    Returns the rewards (T, N), whether each terminated, whether it was a step (or began a dream
    alone), and the episodes of each row: return and length.
    """
    shape = (len(steps), 3)
    rewards, terminated, active = np.zeros(shape), np.zeros(shape, bool), np.ones(shape, bool)
    episodes = [[] for _ in range(3)]
    for row in range(3):
        env, total, length, over = make.one(max_episode_steps=STEPS), 0.0, 0, False
        env.reset(seed=int(first["seed"][row]))
        for t, seen in enumerate(steps):
            if over and mode is AutoresetMode.NEXT_STEP:
                active[t, row] = over = False
                env.reset(seed=int(seen.infos["seed"][row]))
                continue
            _, rewards[t, row], terminated[t, row], truncated, _ = env.step(actions[t, row])
            total, length = total + rewards[t, row], length + 1
            over = terminated[t, row] or truncated
            if over:
                episodes[row].append((total, length))
                total, length = 0.0, 0
                if mode is not AutoresetMode.NEXT_STEP:
                    env.reset(seed=int(seen.infos["seed"][row]))
    return rewards, terminated, active, episodes


@pytest.mark.parametrize("mode", MODES)
def test_statistics_of_episodes_are_those_of_single_dreams(make, actions, mode):
    many = make.many(autoreset_mode=mode, max_episode_steps=STEPS)
    env = RecordEpisodeStatistics(many)
    first, steps = run(env, actions)
    *_, expected = plain(make, first, steps, actions, mode)
    found = [[] for _ in range(3)]
    for seen in steps:
        for row in np.flatnonzero(seen.infos.get("_episode", [])):
            episode = seen.infos["episode"]
            found[row].append((float(episode["r"][row]), int(episode["l"][row])))
    assert [len(episodes) for episodes in found] == [len(episodes) for episodes in expected]
    assert sum(map(len, found)) > 15
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_rewards_are_normalised_by_the_returns_of_single_dreams(make, actions, mode):
    many = make.many(autoreset_mode=mode, max_episode_steps=STEPS)
    env = NormalizeReward(many, gamma=GAMMA)
    first, steps = run(env, actions)
    rewards, terminated, active, _ = plain(make, first, steps, actions, mode)
    statistics, accumulated = RunningMeanStd(shape=()), np.zeros(3, np.float32)
    ended = np.array([seen.terminated | seen.truncated for seen in steps])
    for t, seen in enumerate(steps):
        on = active[t]
        decay = GAMMA * (1 - terminated[t][on])
        accumulated[on] = accumulated[on] * decay + rewards[t][on]
        statistics.update(accumulated[on])
        expected = rewards[t] / np.sqrt(statistics.var + 1e-8)
        np.testing.assert_allclose(seen.rewards, expected, rtol=1e-6)
        if mode is AutoresetMode.SAME_STEP:
            accumulated[ended[t]] = 0
        elif mode is AutoresetMode.DISABLED and ended[t].any():
            accumulated[:] = 0  # the wrapper's reset is of all rows, whatever the mask


def test_observations_are_normalised_over_all_that_was_seen(make, actions):
    plainly, env = make.many(max_episode_steps=STEPS), make.many(max_episode_steps=STEPS)
    wrapped, statistics = NormalizeObservation(env), RunningMeanStd(shape=(4,), dtype=np.float32)
    statistics.update(plainly.reset(seed=1)[0])
    wrapped.reset(seed=1)
    for taken in actions:
        observations = plainly.step(taken)[0]
        statistics.update(observations)
        expected = (observations - statistics.mean) / np.sqrt(statistics.var + 1e-8)
        np.testing.assert_allclose(wrapped.step(taken)[0], expected, rtol=1e-5)
