"""Rollouts through the SDK equal those in process, and sessions stepped one by one."""

import asyncio

import numpy as np
import pytest

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve_protocol.policies import LinearPolicy
from dreamserve_protocol.wire import fields_of

WEIGHTS = np.random.default_rng(0).standard_normal((3, 3, 8))


def test_a_rollout_equals_the_one_in_process(service):
    policy = sdk.LinearPolicy(WEIGHTS)
    fields = {"episodes": 4, "max_steps": 9, "seed": 5}
    rolled = service.client.rollout(policy=policy, **fields, include=["trajectories"])
    whole = frozenset({"trajectories"})
    expected = LocalClient(fake_world()).rollout(
        policy=LinearPolicy(WEIGHTS), **fields, include=whole
    )
    for name in ("seeds", "returns", "lengths", "terminated", "finite"):
        np.testing.assert_array_equal(getattr(rolled, name), getattr(expected, name))
        assert getattr(rolled, name).dtype == getattr(expected, name).dtype
    for name in ("latents", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(rolled, name), getattr(expected, name))
        assert getattr(rolled, name).dtype == getattr(expected, name).dtype
    for name, figures in fields_of(expected.statistics).items():
        np.testing.assert_array_equal(getattr(rolled.statistics, name), figures)

    async def awaited():
        async with service.async_client() as client:
            return await client.rollout(policy=policy, **fields)

    again = service.runner.run(awaited())
    assert asyncio.iscoroutinefunction(sdk.AsyncDreamClient.rollout)
    np.testing.assert_array_equal(again.returns, rolled.returns)
    assert again.latents is None


def test_an_episode_that_becomes_nan_is_marked(service):
    policy = sdk.ConstantPolicy(2)
    rolled = service.client.rollout(world="broken", policy=policy, episodes=2, max_steps=3)
    assert not rolled.finite.any()
    assert rolled.statistics.episodes.tolist() == [0]
    assert np.isnan(rolled.statistics.mean_return).all()


def test_a_dreams_rollouts_start_at_its_state(service):
    with service.client.dream("box", seed=7) as dream:
        rolled = dream.rollout(
            policy=sdk.ConstantPolicy([0.5, 0.1]),
            seeds=[7],
            max_steps=4,
            include=["trajectories"],
        )
        for t in range(rolled.lengths[0, 0]):
            np.testing.assert_array_equal(
                dream.step(rolled.actions[0, 0, t]).latent, rolled.latents[0, 0, t + 1]
            )


@pytest.mark.parametrize("policy", ["random", sdk.ConstantPolicy(1)])
def test_futures_act_by_a_policy(service, policy):
    fields = {"start": sdk.Start(bank=1), "futures": 3, "horizon": 4, "seed": 1}
    sampled = service.client.sample(**fields, policy=policy)
    actions = None if policy == "random" else [1] * 4
    same = service.client.sample(**fields, actions=actions)
    np.testing.assert_array_equal(sampled.latents, same.latents)
