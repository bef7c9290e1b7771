"""Signals whose handlers raise, such as that of Ctrl-C, leave an engine of this process whole."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve_protocol.errors import DreamserveError
from dreamserve_protocol.rollout import RolloutRequest

PATIENCE_S = 30.0
ROLLOUT = {"policy": "random", "episodes": 8, "max_steps": 500, "seed": 1}
pytestmark = pytest.mark.usefixtures("handlers_restored")


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


class Disturbed(FakeBackend):
    """Calls `disturb` before the next step, once."""

    def __init__(self) -> None:
        super().__init__(fake_spec())
        self.disturb: Callable[[], None] | None = None
        self.steps = 0

    def step(self, batch: StepInput) -> StepOutput:
        self.steps += 1
        disturb, self.disturb = self.disturb, None
        if disturb is not None:
            disturb()
        return super().step(batch)


@pytest.fixture
def backend() -> Disturbed:
    return Disturbed()


@pytest.fixture
def client(backend: Disturbed) -> LocalClient:
    client = LocalClient(World(fake_spec(), backend, fake_world().bank))
    client.reset(session_id="a", seed=1)
    return client


def undisturbed() -> LocalClient:
    client = LocalClient(fake_world())
    client.reset(session_id="a", seed=1)
    return client


def test_a_step_that_an_interrupt_ended_can_be_taken_again(
    client: LocalClient, backend: Disturbed
) -> None:
    backend.disturb = raise_interrupt
    with pytest.raises(KeyboardInterrupt):
        client.step("a", 1, step=1)
    after = client.step("a", 1, step=1)
    assert after.latent.tobytes() == undisturbed().step("a", 1).latent.tobytes()
    assert client.delete("a") is None


def test_a_signal_during_a_step_is_handled_when_the_step_has_been_taken(
    client: LocalClient, backend: Disturbed
) -> None:
    signal.signal(signal.SIGINT, raise_interrupt)
    backend.disturb = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        client.step("a", 1, step=1)
    assert client.session("a").step == 1
    again = client.step("a", 1, step=1)
    assert again.latent.tobytes() == undisturbed().step("a", 1).latent.tobytes()
    assert client.session("a").step == 1


@pytest.mark.parametrize("by_signal", [True, False])
def test_long_work_that_is_interrupted_ends(
    client: LocalClient, backend: Disturbed, by_signal: bool
) -> None:
    signal.signal(signal.SIGINT, raise_interrupt)
    raised = (lambda: signal.raise_signal(signal.SIGINT)) if by_signal else raise_interrupt
    backend.disturb = raised
    with pytest.raises(KeyboardInterrupt):
        client.rollout(world="fake", **ROLLOUT)
    computed = backend.steps
    assert client.session("a").step == 0
    assert client.engine.idle
    assert backend.steps - computed <= 1


def test_a_handler_that_is_called_during_long_work_may_make_calls_of_its_own(
    client: LocalClient, backend: Disturbed
) -> None:
    found = []
    signal.signal(signal.SIGINT, lambda *_: found.append(client.session("a").step))
    backend.disturb = lambda: signal.raise_signal(signal.SIGINT)
    assert client.rollout(world="fake", **ROLLOUT).lengths.shape == (1, 8)
    assert found == [0]


def test_a_call_is_answered_while_another_thread_computes_long_work(
    client: LocalClient, backend: Disturbed
) -> None:
    entered, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        assert goes_on.wait(PATIENCE_S)

    backend.disturb = block
    with ThreadPoolExecutor(2) as threads:
        rollout = threads.submit(client.rollout, world="fake", **ROLLOUT)
        assert entered.wait(PATIENCE_S)
        step = threads.submit(client.step, "a", 1)
        goes_on.set()
        assert step.result(PATIENCE_S).step == 1
        assert rollout.result(PATIENCE_S).lengths.shape == (1, 8)


def test_what_is_raised_between_turns_cancels_long_work(client: LocalClient) -> None:
    class LeftError(DreamserveError):
        pass

    def leave() -> None:
        raise LeftError

    with pytest.raises(LeftError):
        client.send(RolloutRequest(world="fake", **ROLLOUT), between_turns=leave)
    client.session("a")
    assert client.engine.idle
