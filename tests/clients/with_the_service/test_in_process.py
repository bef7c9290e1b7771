"""What runs in this process has the timeouts of the other transports."""

import asyncio
import sys

import pytest

import dreamserve_client as sdk
from dreamserve.backends.fake import FakeBackend
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient

PATIENCE_S = 30.0
LONG = {"horizon": 200, "candidates": 2000, "iterations": 20}


@pytest.fixture
def local() -> LocalClient:
    return LocalClient(fake_world())


def test_a_call_that_takes_too_long_is_cancelled_and_the_next_one_is_not_kept(local):
    with sdk.DreamClient(transport=sdk.InProcess(local)) as client, client.dream() as dream:
        before = dream.snapshot()["digest"]
        with pytest.raises(sdk.APITimeoutError, match=r"in this process .* 0\.01 s; a longer"):
            dream.with_options(timeout_s=0.01).plan(planner="cem", **LONG)
        assert not local.engine.idle
        assert dream.snapshot()["digest"] == before
        assert local.engine.idle


def test_a_call_whose_task_is_cancelled_is_cancelled(local):
    async def main() -> None:
        client = sdk.AsyncDreamClient(transport=sdk.AsyncInProcess(local))
        dream = await client.dream()
        plan = asyncio.create_task(dream.plan(planner="cem", **LONG))
        async with asyncio.timeout(PATIENCE_S):
            while not local.engine.queue.scheduler.jobs:
                await asyncio.sleep(0)
            plan.cancel()
            await asyncio.wait([plan])
            while not local.engine.idle:
                await dream.session()
        assert plan.cancelled()

    asyncio.run(main())
    assert local.engine.measures.cancelled == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_session_goes_on_after_an_interrupt(local, monkeypatch, interrupt):
    step, interrupts = FakeBackend.step, [interrupt()]

    def interrupted(*given):
        if interrupts:
            raise interrupts.pop()
        return step(*given)

    client = sdk.DreamClient(transport=sdk.InProcess(local), timeout_s=3, max_retries=0)
    dream = client.dream()
    monkeypatch.setattr(FakeBackend, "step", interrupted)
    with pytest.raises(interrupt):
        dream.step(1)
    assert dream.step(1).step == 1
    dream.close()
    assert local.engine.session_count == 0


def test_a_step_is_computed_to_its_end(local):
    with sdk.DreamClient(transport=sdk.InProcess(local)) as client, client.dream() as dream:
        assert dream.with_options(timeout_s=1e-9, max_retries=0).step(1).step == 1


def test_without_the_service_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamserve.local", None)
    with pytest.raises(sdk.ConfigurationError, match=r"pip install \./service, in a clone"):
        sdk.InProcess("bundles/takecover")
