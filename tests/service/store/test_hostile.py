"""Stores that are full, damaged, read-only or shared, and clocks that are set."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from dreamserve.errors import SettingsError
from dreamserve.store.base import ENDED, Change, Retention, StoreError, StoreFullError
from dreamserve.store.redis import RedisStore
from dreamserve.store.sqlite import SqliteStore

KEPT = Retention(ttl_s=60.0, remembered_s=60.0)
LARGE = os.urandom(60_000)
NOBODY = 65534


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    wall_s, elapsed_s = 1e9, 0.0

    def open(self, path: Path) -> SqliteStore:
        wall, elapsed = (lambda: self.wall_s), (lambda: self.elapsed_s)
        return SqliteStore(str(path), KEPT, 1.0, sync=False, wall_clock=wall, clock=elapsed)

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.elapsed_s += seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def idle_s(store: SqliteStore, *keys: str) -> list[float | None]:
    return [one and round(one.idle_s, 3) for one in store.take(keys, 2)]


@pytest.mark.parametrize("jump_s", [-1e8, 1e8])
def test_a_clock_that_is_set_ends_no_session_and_keeps_none(path, jump_s):
    clocks = Clocks()
    store = clocks.open(path)
    store.commit([Change("a", 1, 1, b"x"), Change("b", 1, 1, b"x")])
    clocks.wall_s += jump_s
    clocks.pass_s(50.0)
    store.commit([Change("b", 1, 2, b"x")])
    clocks.pass_s(80.0)
    store.commit([Change("c", 1, 1, b"x")])
    assert idle_s(store, "a", "b", "c") == [None, 80.0, 0.0]
    store.close()


def test_a_clock_that_was_set_back_between_two_runs_counts_as_standing_still(path):
    clocks = Clocks()
    clocks.wall_s += 1e8  # wrong at first
    store = clocks.open(path)
    store.commit([Change("a", 1, 1, b"x")])
    clocks.pass_s(10.0)
    store.commit([Change("b", 1, 1, b"x")])
    store.close()
    clocks.wall_s -= 1e8
    store = clocks.open(path)
    assert idle_s(store, "a", "b") == [10.0, 0.0]
    clocks.pass_s(300.0)
    store.commit([Change("c", 1, 1, b"x")])
    assert idle_s(store, "a", "b", "c") == [None, None, 0.0]
    store.close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as a user whom file permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("is_new", [False, True])
def test_a_file_that_cannot_be_written_is_an_error_at_the_start(path, is_new):
    if not is_new:
        Clocks().open(path).close()
        path.chmod(0o444)
    path.parent.chmod(0o555)
    for folder in path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    with (
        unprivileged(),
        pytest.raises(SettingsError, match=r"cannot open the store .*sessions\.db"),
    ):
        Clocks().open(path)
    path.parent.chmod(0o755)


def test_a_file_that_is_no_database_is_an_error_at_the_start(path):
    path.write_bytes(LARGE)
    with pytest.raises(SettingsError, match="file is not a database"):
        Clocks().open(path)
    assert path.read_bytes() == LARGE


def test_a_file_that_is_damaged_while_it_is_used_is_an_error_and_no_answer(path):
    store = Clocks().open(path)
    store.commit([Change(f"{i}", 1, 1, LARGE) for i in range(20)])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)  # all pages but the schema's
    path.write_bytes(content)
    with pytest.raises((StoreError, SettingsError), match=r"malformed|not a database"):
        Clocks().open(path).take([f"{i}" for i in range(20)], 2)


def test_two_servers_on_one_file_take_sessions_from_each_other_and_lose_nothing(path):
    first, second = Clocks().open(path), Clocks().open(path)
    first.commit([Change("a", 1, 1, b"1")])
    for version in range(2, 20, 4):
        for store, epoch, at in ((second, 2, version), (first, 1, version + 2)):
            found = store.take(["a"], epoch)[0]
            assert found is not None
            assert (found.version, found.record) == (at, str(at - 1).encode())
            assert store.commit([Change("a", epoch, at + 1, str(at + 1).encode())]) == [True]
            assert store.commit([Change("a", 3 - epoch, at + 2, b"stale")]) == [False]
    first.close()
    second.close()


def test_a_file_that_another_program_has_locked_is_an_error_until_it_is_free(path):
    clocks = Clocks()
    store = SqliteStore(str(path), KEPT, 0.05, sync=False, clock=lambda: clocks.elapsed_s)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked"):
        store.commit([Change("a", 1, 1, b"x")])
    other.execute("ROLLBACK")
    other.close()
    assert store.commit([Change("a", 1, 1, b"x")]) == [True]
    store.close()


def test_a_full_redis_refuses_records_and_damages_none(redis_server, key):
    store = RedisStore(redis_server.url, KEPT, 5.0)
    client = redis.Redis(port=redis_server.port)
    keys = [f"{key} {i}" for i in range(20)]
    assert all(store.commit([Change(one, 1, 1, LARGE) for one in keys]))
    client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
    try:
        with pytest.raises(StoreFullError, match="maxmemory"):
            store.commit([Change(keys[0], 1, 2, b"x"), Change(keys[1], 1, 2, b"x")])
        assert store.commit([Change(keys[2], 1, 1, None)]) == [True]
        assert all(store.commit([Change(one, 1, 2, ENDED) for one in keys[10:15]]))  # makes room
        elsewhere = store.take(keys[15:], 2)  # which another server wants to end
        assert [one and (one.version, one.left_with) for one in elsewhere] == [(2, 1)] * 5
        assert all(store.commit([Change(one, 1, 3, ENDED) for one in keys[15:]]))
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    found = [one and one.record for one in store.take(keys, 2)]
    assert found[:10] == [LARGE] * 10
    assert set(found[10:]) <= {ENDED, None}
    assert found[10] is None  # there was no room to remember that it was ended
    store.close()
