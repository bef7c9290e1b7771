"""Gymnasium's own vector wrappers, unmodified, have right numbers in every autoreset mode.

What is right is computed from single environments, one after another.
"""

from typing import NamedTuple

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction
from gymnasium.wrappers.utils import RunningMeanStd
from gymnasium.wrappers.vector import NormalizeObservation, NormalizeReward, RecordEpisodeStatistics
from gymnasium.wrappers.vector import RescaleAction as VectorRescaleAction

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world
from dreamserve.spaces import BoxSpace

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


ODD = BoxSpace(low=(-1.9, 0.0), high=(0.9, 2.7), names=("steer", "gas"))


@pytest.mark.parametrize("end", [-1, 1])
def test_rescaled_actions_at_a_bound_are_those_at_the_bound(make, end):
    world, bound = fake_world(space=ODD), np.float32(ODD.high if end == 1 else ODD.low)
    one = RescaleAction(make.one(world), np.float32(-1), np.float32(1))
    many = VectorRescaleAction(make.many(2, world), np.float32(-1), np.float32(1))
    own = make.one(world)
    for env in (one, many, own):
        env.reset(seed=1)
    expected = own.step(bound)[0]
    actions = np.full((2, 2), end, np.float32)
    np.testing.assert_array_equal(one.step(actions[0])[0], expected)
    np.testing.assert_array_equal(many.step(actions)[0][0], expected)


def test_what_rounding_puts_beyond_a_bound_is_put_back_and_no_more(make):
    env, low = make.one(fake_world(space=ODD)), np.float32(ODD.low)
    env.reset(seed=1)
    for action in ([-1.90001, 0], [-1.9, -1e-5], [np.nan, 0], [[-1.9], [0, 1]]):
        with pytest.raises((sdk.InvalidActionError, sdk.NotFiniteInputError)):
            env.step(action)
    few = [np.nextafter(low[0], np.float32(-9)), np.float32(-1e-7)]
    again = make.one(fake_world(space=ODD))
    again.reset(seed=1)
    np.testing.assert_array_equal(env.step(few)[0], again.step(low)[0])
