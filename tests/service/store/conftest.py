"""A real Redis and a real Valkey for the tests of stores."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def redis_server(running_redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(running_valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("valkey")
    with running_valkey(folder, "--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"test {secrets.token_hex(8)}"
