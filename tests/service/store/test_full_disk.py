"""The disk of a store fills up, and has room again: the append-only file of Redis, or SQLite's."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamserve.store.base import Change, Retention, StoreError, StoreFullError
from dreamserve.store.redis import RedisStore
from dreamserve.store.sqlite import SqliteStore

KEPT = Retention(ttl_s=60.0, remembered_s=60.0)
RECORD = b"x" * 10_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def fill(store: RedisStore, key: str) -> tuple[int, str]:
    """Commit until that fails; return the number of confirmed commits, and the reason."""
    for confirmed in range(1000):
        try:
            assert store.commit([Change(key, 1, confirmed + 1, RECORD)]) == [True]
        except StoreError as error:
            return confirmed, str(error)
    raise AssertionError("the disk was never full")


def test_commits_fail_while_the_disk_is_full_and_then_go_on(running_redis, small_disk, key):
    with running_redis(small_disk, "--appendfsync", "everysec") as server:
        store = RedisStore(server.url, KEPT, 5.0)
        confirmed, reason = fill(store, key)
        assert "MISCONF Errors writing to the AOF file" in reason
        with pytest.raises(StoreFullError):
            store.commit([Change(key, 1, confirmed + 1, RECORD)])
        assert store.read([key])[0].record == RECORD
        assert 10 < confirmed < 200
        (rest,) = small_disk.glob("appendonlydir/*.incr.aof")
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
        size = rest.stat().st_size
        for attempt in range(100_000):  # Redis looks every second
            try:
                assert store.commit([Change(key, 1, confirmed + 1, RECORD)]) == [True]
                break
            except StoreError:
                assert attempt < 99_999
        (found,) = store.take([key], 2)
        assert (found.version, found.record) == (confirmed + 2, RECORD)
        assert rest.stat().st_size > size
        store.close()


def test_a_redis_that_waits_for_its_disk_ends_when_it_is_full(running_redis, small_disk, key):
    with running_redis(small_disk, "--appendfsync", "always") as server:
        store = RedisStore(server.url, KEPT, 5.0)
        confirmed, _ = fill(store, key)
        assert server.process.wait(10) == 1
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
        server.start()
        (found,) = store.take([key], 2)
        assert (found.version, found.record) == (confirmed + 1, RECORD)
        store.close()


def test_a_file_that_cannot_grow_is_full_and_can_still_be_read(tmp_path, key):
    store = SqliteStore(str(tmp_path / "sessions.db"), KEPT, 5.0, sync=False)
    store._connection.execute("PRAGMA max_page_count = 60")
    changes = [Change(f"{key}{number}", 1, 1, RECORD) for number in range(100)]
    assert store.commit(changes[:1]) == [True]
    with pytest.raises(StoreFullError, match="full"):
        store.commit(changes[1:])
    (found,) = store.read([f"{key}0"])
    assert found.record == RECORD
    store._connection.execute("PRAGMA max_page_count = 1000")
    assert store.commit([Change(f"{key}new", 1, 1, RECORD)]) == [True]
    store.close()
