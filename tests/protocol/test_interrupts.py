"""Signals wait until nothing is half done; their handlers are then called, and may raise."""

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dreamserve_protocol.interrupts import signals_wait

pytestmark = pytest.mark.usefixtures("handlers_restored")


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_signals_wait_in_their_order_and_their_handlers_are_those_of_before(
    handlers_restored: list[signal.Signals],
) -> None:
    used = handlers_restored
    handled: list[int] = []

    def note(number: int, _: Any) -> None:
        handled.append(number)

    for number in used:
        signal.signal(number, note)
    with signals_wait() as signals:
        for number in reversed(used):
            signal.raise_signal(number)
        assert handled == []
        signals.deliver()
        assert sorted(handled) == sorted(used)
        with signals_wait():
            signal.raise_signal(used[0])
        assert len(handled) == len(used)
    assert handled[len(used) :] == [used[0]]
    assert [signal.getsignal(number) for number in used] == [note] * len(used)


def test_a_signal_that_waited_is_handled_after_an_error_too() -> None:
    signal.signal(signal.SIGINT, raise_interrupt)

    def fail() -> None:
        with signals_wait():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as raised:
        fail()
    assert isinstance(raised.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGINT) is raise_interrupt


def test_signals_are_heard_where_a_block_lets_them() -> None:
    signal.signal(signal.SIGINT, raise_interrupt)

    def listen() -> None:
        with signals.heard():
            signal.raise_signal(signal.SIGINT)

    with signals_wait() as signals:
        with pytest.raises(KeyboardInterrupt):
            listen()
        signal.raise_signal(signal.SIGINT)  # waits again
        with pytest.raises(KeyboardInterrupt), signals.heard():
            pass


def test_other_threads_leave_signals_alone() -> None:
    def work() -> object:
        with signals_wait() as signals, signals.heard():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(work).result(30) is signal.getsignal(signal.SIGINT)
