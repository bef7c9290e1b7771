"""The clock of a Redis or Valkey is set: sessions are forgotten, or not older than they were."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreamserve.store.base import Change, Retention
from dreamserve.store.redis import RedisStore

KEPT = Retention(ttl_s=60.0, remembered_s=60.0)
LIBRARY = "libfaketime.so.1"  # which does not work with Debian's Redis, because of its jemalloc


@pytest.fixture
def set_clock(tmp_path: Path) -> Callable[[str], None]:
    """Return a function that sets the clock of `store` ahead of the true one."""

    def set_ahead(ahead: str) -> None:
        new = tmp_path / "new"
        new.write_text(f"{ahead}\n")
        new.replace(tmp_path / "clock")
        time.sleep(0.3)  # the server looks at its clock ten times a second

    set_ahead("+0")
    return set_ahead


@pytest.fixture
def store(running_valkey, set_clock, tmp_path: Path) -> Iterator[RedisStore]:
    """Return a store in a Valkey whose wall clock can be set."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"))
    if not found:
        pytest.skip("libfaketime is not installed")
    variables = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with running_valkey(tmp_path, **variables) as server:
        store = RedisStore(server.url, KEPT, 5.0)
        yield store
        store.close()


def test_a_clock_that_is_set_back_makes_no_session_younger_than_new(store, set_clock, key):
    store.commit([Change(key, 1, 1, b"a")])
    set_clock("-10d")
    (found,) = store.take([key], 2)
    assert (found.record, found.idle_s) == (b"a", 0.0)
    store.commit([Change(key, 2, 3, b"b")])  # its time to live begins anew, by the new clock
    (found,) = store.take([key], 3)
    assert 0.0 <= found.idle_s < KEPT.ttl_s
    set_clock("-9d")
    assert store.take([key], 4) == [None]


def test_a_clock_that_is_set_forwards_forgets_sessions_and_keeps_new_ones(store, set_clock, key):
    store.commit([Change(key, 1, 1, b"a")])
    set_clock("+10d")
    assert store.commit([Change(key, 1, 2, b"b")]) == [False]
    assert store.take([key], 2) == [None]
    assert store.commit([Change(key, 3, 1, b"c")]) == [True]
    (found,) = store.take([key], 4)
    assert (found.record, found.idle_s < KEPT.ttl_s) == (b"c", True)
