"""The disk of a Redis' append-only file fills up, and has room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamserve.store.base import Change, Retention, StoreError
from dreamserve.store.redis import RedisStore

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
