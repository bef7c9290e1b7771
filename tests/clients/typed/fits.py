"""What a user of the SDK writes: mypy knows every parameter and every result."""

from collections.abc import Mapping
from typing import Any, assert_type

import numpy as np

import dreamserve_client as sdk
from dreamserve_protocol.arrays import Float32, Int64


def with_a_client(client: sdk.DreamClient, kept: Mapping[str, Any]) -> None:
    first = client.reset("takecover", seed=7, start=sdk.Start(bank=3), include=["frame"])
    assert_type(first, sdk.ResetResult)
    after = client.step(first.session_id, 1, observation=np.zeros(32), include=["mixture"])
    assert_type(after, sdk.StepResult)
    assert_type(after.latent, Float32)
    assert_type(after.mixture, dict[str, Float32] | None)
    batch = client.reset_batch(4, seeds=[1, 2, 3, 4], temperatures=np.ones(4))
    assert_type(batch.seeds, Int64)
    stepped = client.step_batch(batch.session_ids, np.zeros(4, np.int64))
    assert_type(stepped.errors, list[sdk.RowError])
    objective = sdk.Objective(reward=1.0, survival=2.0)
    plan = client.plan(first.session_id, planner="icem", objective=objective, budget_ms=20)
    assert_type(plan.action, int | Float32)
    policy = sdk.LinearPolicy(np.zeros((5, 3, 8)), inputs=["latent"])
    assert_type(client.rollout(policy=policy, max_steps=9, episodes=2), sdk.RolloutResult)
    futures = client.sample(first.session_id, futures=3, horizon=4, policy="random")
    assert_type(futures, sdk.SampleResult)
    assert_type(client.fork(first.session_id, 2, seeds=[1, 2]), sdk.ForkResult)
    assert_type(client.rewind(first.session_id, 3), sdk.RewindResult)
    assert_type(client.snapshot(first.session_id), dict[str, Any])
    assert_type(client.restore(kept), sdk.SessionResult)
    assert_type(client.worlds(), list[sdk.WorldSummary])
    assert_type(client.world("takecover"), sdk.WorldResult)
    client.delete(first.session_id)


def with_a_dream(client: sdk.DreamClient, kept: Mapping[str, Any]) -> None:
    with client.dream(seed=7, rewind_window=5) as dream:
        assert_type(dream, sdk.DreamSession)
        assert_type(dream.step([0.5, 0.1]), sdk.StepResult)
        assert_type(dream.fork(seeds=[1, 2]), list[sdk.DreamSession])
        assert_type(dream.rewind(steps=1), sdk.RewindResult)
        assert_type(dream.session().idle_s, float)
    assert_type(client.resume(kept, "mine"), sdk.DreamSession)


async def awaited(client: sdk.AsyncDreamClient) -> None:
    async with await client.dream(temperature=0.5) as dream:
        assert_type(await dream.step(1, step=1), sdk.StepResult)
        assert_type(await dream.fork(2), list[sdk.AsyncDreamSession])
        assert_type(await dream.plan(horizon=5), sdk.PlanResult)
    assert_type(await client.worlds(), list[sdk.WorldSummary])
