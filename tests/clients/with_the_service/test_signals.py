"""Signals whose handlers raise, such as that of Ctrl-C, end a call, and the client goes on."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from httpx._transports import default

import dreamserve_client as sdk

PATIENCE_S = 30.0


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, as it does outside of pytest, too."""
    before = signal.signal(signal.SIGINT, raise_interrupt)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted:
    """A lock, while whose first acquisition a signal comes."""

    def __init__(self, lock: Any) -> None:
        self._lock, self._is_first = lock, True
        self.release = lock.release

    def acquire(self, **options: Any) -> bool:
        acquired = self._lock.acquire(**options)
        if self._is_first:
            self._is_first = False
            signal.raise_signal(signal.SIGINT)
        return acquired


@pytest.mark.parametrize("kind", ["a signal", "an exception"])
def test_a_client_of_http_goes_on_after_an_interrupt(url, monkeypatch, kind):
    made = default.ResponseStream

    def interrupted(*given):
        monkeypatch.undo()
        if kind == "an exception":
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)
        return made(*given)

    with sdk.DreamClient(url, timeout_s=3, max_retries=0) as client, client.dream() as dream:
        monkeypatch.setattr(default, "ResponseStream", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dream.step(1)
        assert dream.step(1).step == 1


def test_a_client_of_the_stream_goes_on_after_an_interrupt(url, monkeypatch):
    client = sdk.DreamClient(url, timeout_s=3, max_retries=0, transport="stream")
    dream = client.dream()
    with monkeypatch.context() as interrupted:
        interrupted.setattr(client._transport, "_lock", Interrupted(client._transport._lock))
        with pytest.raises(KeyboardInterrupt):
            dream.step(1)
    assert dream.step(1).step == 1
    client.close()


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_an_interrupt_ends_the_wait_for_a_response(transport):
    def interrupt() -> None:
        connection = listening.accept()[0]
        connection.recv(65536)
        os.kill(os.getpid(), signal.SIGINT)
        connection.recv(65536)  # nothing: the client has hung up
        connection.close()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = Thread(target=interrupt)
        server.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = sdk.DreamClient(url, timeout_s=PATIENCE_S, max_retries=0, transport=transport)
        with pytest.raises(KeyboardInterrupt):
            client.worlds()
        client.close()
        server.join(PATIENCE_S)
        assert not server.is_alive()
