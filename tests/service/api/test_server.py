"""The socket that the server listens on."""

import socket

import pytest

from dreamserve.api.server import bind, serve
from dreamserve.errors import SettingsError


def test_responses_are_not_delayed_by_nagles_algorithm() -> None:
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named
    with bind("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_port_0_selects_a_free_port() -> None:
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as other:
        assert one.getsockname()[1] != other.getsockname()[1]


def test_connections_are_refused_until_the_server_answers() -> None:
    with bind("127.0.0.1", 0) as bound, pytest.raises(ConnectionRefusedError):
        socket.create_connection(bound.getsockname(), timeout=5.0)


def test_two_servers_that_start_at_once_do_not_share_a_port() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            first.listen()
            with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1 port {port}"):
                serve(None, None, second, lambda: None)


def test_a_port_in_use_is_reported() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1 port {port}: Address"):
            bind("127.0.0.1", port)
