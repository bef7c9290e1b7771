"""What runs in this process has the timeouts of the other transports."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

import dreamserve_client as sdk
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


def test_a_call_that_waits_for_others_too_long_was_not_sent(local, monkeypatch):
    began, goes_on = Event(), Event()
    send = local.send

    def slow(*given):
        began.set()
        assert goes_on.wait(PATIENCE_S)
        return send(*given)

    monkeypatch.setattr(local, "send", slow)
    client = sdk.DreamClient(transport=sdk.InProcess(local), max_retries=0)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.reset)
        assert began.wait(PATIENCE_S)
        with pytest.raises(sdk.APITimeoutError, match=r"other calls took 0\.01 s") as raised:
            client.with_options(timeout_s=0.01).worlds()
        goes_on.set()
        assert first.result(PATIENCE_S).step == 0
    assert not raised.value.sent


def test_a_step_is_computed_to_its_end(local):
    with sdk.DreamClient(transport=sdk.InProcess(local)) as client, client.dream() as dream:
        assert dream.with_options(timeout_s=1e-9, max_retries=0).step(1).step == 1


def test_without_the_service_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamserve.local", None)
    with pytest.raises(sdk.ConfigurationError, match=r"pip install \./service, in a clone"):
        sdk.InProcess("bundles/takecover")
