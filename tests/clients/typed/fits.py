"""What a user of the SDK writes: mypy knows every parameter and every result."""

from collections.abc import Mapping
from typing import Any, assert_type

import httpx
import numpy as np

import dreamserve_client as sdk
from dreamserve_protocol.arrays import Float32, Int64
from dreamserve_protocol.plan import PlanRequest


def clients(lent: httpx.Client, awaited: httpx.AsyncClient) -> None:
    url = "http://127.0.0.1:8000"
    with sdk.DreamClient(url, transport="stream", encoding="json", timeout_s=5) as client:
        assert_type(client.with_options(max_retries=0), sdk.DreamClient)
        client.close()
    sdk.DreamClient(url, http_client=lent, max_retries=0).close()
    here: sdk.Transport = sdk.InProcess("bundles/takecover", backend="onnx")
    patient = sdk.DreamClient(transport=here).with_options(timeout_s=900)
    assert_type(patient, sdk.DreamClient)
    assert_type(patient.send(PlanRequest("s1"), timeout_s=1), sdk.PlanResult)
    sdk.AsyncDreamClient(url, http_client=awaited)
    sdk.AsyncDreamClient(transport=sdk.AsyncInProcess("bundles/takecover"))
    sdk.AsyncDreamClient(url, transport="stream")


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
    assert_type(plan.action, int | Int64 | Float32)
    policy = sdk.LinearPolicy(np.zeros((5, 3, 8)), inputs=["latent"])
    assert_type(client.rollout(policy=policy, max_steps=9, episodes=2), sdk.RolloutResult)
    futures = client.sample(first.session_id, futures=3, horizon=4, policy="random")
    assert_type(futures, sdk.SampleResult)
    assert_type(client.fork(first.session_id, 2, seeds=[1, 2]), sdk.ForkResult)
    assert_type(client.rewind(first.session_id, 3), sdk.RewindResult)
    assert_type(client.snapshot(first.session_id), dict[str, Any])
    assert_type(client.restore(kept), sdk.SessionResult)
    assert_type(client.session(first.session_id), sdk.SessionResult)
    assert_type(client.sessions(limit=5), sdk.SessionsResult)
    assert_type(client.delete_idle(60).deleted, int)
    assert_type(client.admin_sessions(owner="ann").sessions, list[sdk.SessionSummary])
    assert_type(client.admin_delete(owner="ann", idle_s=60).deleted, int)
    assert_type(client.admin_load("takecover"), sdk.WorldResult)
    client.admin_unload("takecover")
    assert_type(client.worlds(), list[sdk.WorldSummary])
    assert_type(client.world("takecover"), sdk.WorldResult)
    client.delete(first.session_id)
    assert_type(client.send(PlanRequest("s1"), timeout_s=1), sdk.PlanResult)
    assert_type(client.delete_batch(batch.session_ids).errors, list[sdk.RowError])


def with_a_dream(client: sdk.DreamClient, kept: Mapping[str, Any]) -> None:
    with client.dream(seed=7, rewind_window=5) as dream:
        assert_type(dream, sdk.DreamSession)
        assert_type(dream.step([0.5, 0.1]), sdk.StepResult)
        assert_type(dream.fork(seeds=[1, 2]), list[sdk.DreamSession])
        assert_type(dream.rewind(steps=1), sdk.RewindResult)
        assert_type(dream.session().idle_s, float)
        assert_type(dream.snapshot(), dict[str, Any])
        assert_type(dream.plan(horizon=3), sdk.PlanResult)
        assert_type(dream.sample(futures=1, horizon=2), sdk.SampleResult)
        assert_type(dream.rollout(policy="random", max_steps=3, episodes=1), sdk.RolloutResult)
        assert_type(dream.with_options(max_retries=0), sdk.DreamSession)
        dream.close()
    assert_type(client.resume(kept, "mine"), sdk.DreamSession)


async def with_an_async_client(client: sdk.AsyncDreamClient, kept: Mapping[str, Any]) -> None:
    first = await client.reset("takecover", start=sdk.Start(frames=[np.zeros((2, 2, 3))]))
    assert_type(first, sdk.ResetResult)
    assert_type(await client.step(first.session_id, 1, step=1), sdk.StepResult)
    batch = await client.reset_batch(4, seeds=[1, 2, 3, 4])
    assert_type(batch.latents, Float32)
    stepped = await client.step_batch(batch.session_ids, np.zeros(4, np.int64))
    assert_type(stepped, sdk.StepBatchResult)
    assert_type(await client.plan(first.session_id), sdk.PlanResult)
    assert_type(await client.rollout(policy="random", max_steps=9), sdk.RolloutResult)
    assert_type(await client.sample(first.session_id, futures=1, horizon=1), sdk.SampleResult)
    assert_type(await client.fork(first.session_id), sdk.ForkResult)
    assert_type(await client.rewind(first.session_id, 3), sdk.RewindResult)
    assert_type(await client.snapshot(first.session_id), dict[str, Any])
    assert_type(await client.restore(kept), sdk.SessionResult)
    assert_type(await client.session(first.session_id), sdk.SessionResult)
    assert_type(await client.sessions(limit=5), sdk.SessionsResult)
    assert_type((await client.delete_idle(60)).deleted, int)
    assert_type((await client.admin_sessions(owner="ann")).sessions, list[sdk.SessionSummary])
    assert_type((await client.admin_delete(owner="ann", idle_s=60)).deleted, int)
    assert_type(await client.admin_load("takecover"), sdk.WorldResult)
    await client.admin_unload("takecover")
    assert_type(await client.worlds(), list[sdk.WorldSummary])
    assert_type(await client.world("takecover"), sdk.WorldResult)
    assert_type(await client.send(PlanRequest("s1"), timeout_s=1), sdk.PlanResult)
    assert_type(client.with_options(timeout_s=1), sdk.AsyncDreamClient)
    await client.delete(first.session_id)
    assert_type((await client.delete_batch(batch.session_ids)).errors, list[sdk.RowError])
    await client.close()


async def with_an_async_dream(client: sdk.AsyncDreamClient, kept: Mapping[str, Any]) -> None:
    async with await client.dream(temperature=0.5) as dream:
        assert_type(await dream.step(1, step=1), sdk.StepResult)
        assert_type(await dream.fork(2), list[sdk.AsyncDreamSession])
        assert_type(await dream.plan(horizon=5), sdk.PlanResult)
        assert_type(await dream.rewind(to_step=0), sdk.RewindResult)
        assert_type(await dream.session(), sdk.SessionResult)
        assert_type(await dream.snapshot(), dict[str, Any])
        assert_type(await dream.sample(futures=1, horizon=2), sdk.SampleResult)
        assert_type(await dream.rollout(policy="random", max_steps=3), sdk.RolloutResult)
        assert_type(dream.with_options(max_retries=0), sdk.AsyncDreamSession)
        await dream.close()
    assert_type(await client.resume(kept), sdk.AsyncDreamSession)


class OwnTransport:
    """A user's own."""

    def send(self, call: sdk.Call[Any], timeout_s: float) -> Mapping[str, Any]:
        return {"worlds": []}

    def close(self) -> None:
        return None


def with_an_own_transport() -> None:
    assert_type(sdk.DreamClient(transport=OwnTransport()).worlds(), list[sdk.WorldSummary])


def with_many_dreams(client: sdk.DreamClient) -> None:
    with client.dreams(256, world="takecover", max_steps=200, on_end="restart") as many:
        assert_type(many, sdk.Dreams)
        assert_type(many.first, sdk.ResetBatchResult)
        assert_type(many.step(np.zeros(256, np.int64)), sdk.StepBatchResult)
        assert_type(many.reset(np.array([3]), seeds=[1]), sdk.ResetBatchResult)
        assert_type(many.steps, Int64)


async def with_many_awaited_dreams(client: sdk.AsyncDreamClient) -> None:
    async with await client.dreams(2, temperature=[1.0, 0.5]) as many:
        assert_type(many, sdk.AsyncDreams)
        assert_type(await many.step([1, 0]), sdk.StepBatchResult)
