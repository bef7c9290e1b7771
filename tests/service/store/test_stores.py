"""What every store promises: in memory, in SQLite, in a real Redis and in a real Valkey."""

import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamserve.errors import SettingsError
from dreamserve.store.base import ENDED, Change, Retention, Store, StoreError
from dreamserve.store.choose import open_store
from dreamserve.store.memory import MemoryStore
from dreamserve.store.redis import PREFIX, RedisStore
from dreamserve.store.redis_url import without_waitaof
from dreamserve.store.sqlite import SqliteStore

KEPT = Retention(ttl_s=60.0, remembered_s=60.0)
LARGE = secrets.token_bytes(100_000)
Open = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "redis", "valkey"])
def opened(request, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens the same store again, as another process does."""
    stores: list[Store] = []
    if request.param in ("redis", "valkey"):
        url = request.getfixturevalue(f"{request.param}_server").url
        new: Open = lambda: RedisStore(url, KEPT, 5.0)  # noqa: E731 - each param has its own
    elif request.param == "sqlite":
        path = str(tmp_path / "sessions.db")
        new = lambda: SqliteStore(path, KEPT, 5.0, sync=False)  # noqa: E731
    else:
        shared = MemoryStore(KEPT)
        new = lambda: shared  # noqa: E731

    def open_one() -> Store:
        stores.append(new())
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Open) -> Store:
    return opened()


def taken(store: Store, key: str, epoch: int) -> tuple[int, bytes]:
    """Take a session over; return its version and record."""
    found = store.take([key], epoch)[0]
    assert found is not None
    assert 0 <= found.idle_s < KEPT.ttl_s
    return found.version, found.record


def test_a_new_session_is_stored_once(store, key):
    assert store.commit([Change(key, 7, 1, b"first")]) == [True]
    assert store.commit([Change(key, 8, 1, b"other")]) == [False]
    assert taken(store, key, 7) == (2, b"first")


def test_what_is_unknown_is_not_taken_and_not_changed(store, key):
    assert store.take([key], 7) == [None]
    assert store.commit([Change(key, 7, 2, b"step")]) == [False]
    assert store.commit([Change(key, 7, 1, None)]) == [False]
    assert store.take([key], 7) == [None]


def test_a_session_that_is_read_stays_with_its_owner(opened, key):
    first, second = opened(), opened()
    first.commit([Change(key, 1, 1, b"a"), Change(f"{key} 2", 1, 1, ENDED)])
    found = second.read([key, f"{key} 2", f"{key} 3"])
    assert [one and one.record for one in found] == [b"a", ENDED, None]
    assert 0 <= found[0].idle_s < KEPT.ttl_s
    assert first.commit([Change(key, 1, 2, b"b")]) == [True]


def test_the_epoch_that_took_a_session_last_commits_alone(opened, key):
    first, second = opened(), opened()
    first.commit([Change(key, 1, 1, b"a")])
    assert taken(second, key, 2) == (2, b"a")
    assert first.commit([Change(key, 1, 2, b"b")]) == [False]
    assert first.commit([Change(key, 1, 1, None)]) == [False]
    assert second.commit([Change(key, 2, 3, b"c")]) == [True]
    assert taken(first, key, 3) == (4, b"c")


def test_a_commit_that_is_sent_again_is_confirmed_and_an_older_one_is_not(store, key):
    for version, record in ((1, b"a"), (1, b"a"), (2, b"b"), (2, b"b"), (3, b"c")):
        assert store.commit([Change(key, 1, version, record)]) == [True]
    assert store.commit([Change(key, 1, 1, b"a")]) == [False]
    assert store.commit([Change(key, 1, 2, None)]) == [False]
    assert taken(store, key, 1) == (4, b"c")


def test_an_owner_repairs_a_store_that_has_lost_commits(store, key):
    store.commit([Change(key, 1, 1, b"a")])
    assert store.commit([Change(key, 1, 5, b"e")]) == [True]
    assert taken(store, key, 1) == (6, b"e")


def test_a_takeover_that_arrives_late_gives_nobody_a_session_that_has_moved_on(store, key):
    store.commit([Change(key, 1, 1, b"a")])
    assert taken(store, key, 2) == (2, b"a")  # the owner of epoch 2
    assert taken(store, key, 3) == (3, b"a")  # its successor
    store.take([key], 2)  # the first takeover again, after its connection broke
    assert store.commit([Change(key, 2, 3, b"b")]) == [False]


def test_a_check_renews_the_time_to_live_if_it_is_asked_to(tmp_path):
    now_s = [1000.0]
    sqlite = SqliteStore(str(tmp_path / "a.db"), KEPT, 1.0, sync=False, clock=lambda: now_s[0])
    for store in (MemoryStore(KEPT, lambda: now_s[0]), sqlite):
        store.commit([Change("a", 1, 1, b"x"), Change("b", 1, 1, b"x")])
        now_s[0] += 9.0
        store.commit([Change("a", 1, 1, None), Change("b", 1, 1, None, renew=False)])
        assert [one and one.idle_s for one in store.take(["a", "b"], 1)] == [0.0, 9.0]
    sqlite.close()


def test_an_ended_session_is_remembered_and_can_be_replaced_by_its_owner(store, key):
    store.commit([Change(key, 1, 1, b"a")])
    assert store.commit([Change(key, 1, 2, ENDED)]) == [True]
    assert taken(store, key, 2) == (3, ENDED)
    assert store.commit([Change(key, 2, 4, b"again")]) == [True]


def test_one_call_takes_and_commits_many_sessions_and_large_records(store, key):
    keys = [f"{key} {i}" for i in range(600)]
    changes = [Change(one, 1, 1, LARGE if i % 200 == 0 else b"") for i, one in enumerate(keys)]
    assert store.commit(changes) == [True] * 600
    found = store.take([*keys, "unknown"], 9)
    assert [one and len(one.record) for one in found[:3]] == [100_000, 0, 0]
    assert found[-1] is None
    mixed = [Change(keys[0], 9, 3, b"x"), Change(keys[1], 1, 3, b"x"), Change(keys[2], 9, 3, b"x")]
    assert store.commit(mixed) == [True, False, True]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from(["read", "take", "write", "check"]),
            st.integers(1, 2),  # the epoch
            st.integers(1, 4),  # the version
        ),
        max_size=12,
    )
)
def test_every_store_equals_the_one_in_memory(store, operations):
    key, reference = f"test {secrets.token_hex(8)}", MemoryStore(KEPT)
    for operation, epoch, version in operations:
        for_both: list[object] = []
        for one in (store, reference):
            if operation == "take":
                found = one.take([key], epoch)[0]
                for_both.append(found and (found.version, found.record))
            elif operation == "read":
                read = one.read([key])[0]
                for_both.append(read and read.record)
            else:
                record = bytes([epoch, version]) if operation == "write" else None
                for_both.append(one.commit([Change(key, epoch, version, record)]))
        assert for_both[0] == for_both[1]


def test_sqlite_sessions_expire_and_are_removed_later(tmp_path):
    now_s = [1000.0]
    path = str(tmp_path / "sessions.db")
    retention = Retention(ttl_s=10.0, remembered_s=100.0)
    store = SqliteStore(path, retention, 1.0, sync=True, clock=lambda: now_s[0])
    store.commit([Change("a", 1, 1, b"x"), Change("b", 1, 1, b"x")])
    now_s[0] += 9.0
    store.commit([Change("a", 1, 1, None)])
    now_s[0] += 9.0
    assert [one and one.idle_s for one in store.take(["a", "b"], 1)] == [9.0, 18.0]
    now_s[0] += 200.0
    store.commit([Change("c", 1, 1, b"x")])
    assert [one and one.idle_s for one in store.take(["a", "b", "c"], 1)] == [None, None, 0.0]
    store.close()


def test_redis_sessions_expire_before_they_are_forgotten(redis_server, key):
    short_ttl = Retention(ttl_s=0.0, remembered_s=60.0)
    short = RedisStore(redis_server.url, short_ttl, 5.0)
    short.commit([Change(key, 1, 1, b"x")])
    for _ in range(1000):
        found = short.take([key], 2)[0]
        assert found is not None
        if found.idle_s > short_ttl.ttl_s:
            break
    assert found.idle_s > short_ttl.ttl_s
    assert found.record == b"x"
    short.close()


@pytest.mark.parametrize(("before_s", "after_s"), [(600.0, 3600.0), (3600.0, 600.0)])
@pytest.mark.parametrize("renewed", [False, True])
def test_another_time_to_live_makes_no_session_older_or_younger(
    redis_server, key, before_s: float, after_s: float, renewed: bool
) -> None:
    before, after = (
        RedisStore(redis_server.url, Retention(ttl_s, ttl_s), 5.0) for ttl_s in (before_s, after_s)
    )
    before.commit([Change(key, 1, 1, b"x")])
    with redis.Redis(port=redis_server.port) as client:
        client.pexpire(PREFIX + key, int(1e3 * (2 * before_s - 100.0)))  # 100 s later
    if renewed:
        assert after.commit([Change(key, 1, 1, None)]) == [True]
    for store in (before, after):
        found, taken_over = store.read([key])[0], store.take([key], 1)[0]
        assert found is not None
        assert taken_over is not None
        for idle_s in (found.idle_s, taken_over.idle_s):
            assert idle_s == pytest.approx(0.0 if renewed else 100.0, abs=10.0)
        store.close()


def test_a_value_of_an_older_release_is_read_and_goes_on(redis_server, key) -> None:
    store = RedisStore(redis_server.url, KEPT, 5.0)
    with redis.Redis(port=redis_server.port) as client:  # epoch and version, 8 bytes each
        client.set(PREFIX + key, struct.pack(">QQ", 1, 7) + b"old", px=110_000)
    found = store.read([key])[0]
    assert found is not None
    assert (found.record, found.idle_s) == (b"old", pytest.approx(10.0, abs=5.0))
    assert store.commit([Change(key, 1, 6, b"stale"), Change(key, 1, 7, None)]) == [False, True]
    assert taken(store, key, 2) == (8, b"old")
    store.close()


def test_a_redis_that_is_gone_and_comes_back_has_lost_nothing(redis_server, key):
    store = RedisStore(redis_server.url, KEPT, 1.0)
    assert store.commit([Change(key, 1, 1, b"x")]) == [True]
    redis_server.kill()
    with pytest.raises(StoreError, match="redis: "):
        store.commit([Change(key, 1, 2, b"y")])
    redis_server.start()
    assert store.commit([Change(key, 1, 2, b"y")]) == [True]
    store.close()


def test_after_a_failover_the_store_leaves_the_old_primary(running_redis, tmp_path, key):
    """It refuses commits as a replica, and keeps its connections open."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with running_redis(tmp_path / "old") as old, running_redis(tmp_path / "new") as new:
        store = RedisStore(old.url, KEPT, 5.0)
        assert store.commit([Change(key, 1, 1, b"x")]) == [True]
        with redis.Redis(port=old.port) as admin:
            admin.replicaof("127.0.0.1", new.port)
        pool = store._redis.connection_pool
        connection = pool.get_connection()
        connection.port = new.port  # where its name leads from now on
        pool.release(connection)
        with pytest.raises(StoreError, match="read only replica"):
            store.commit([Change(key, 1, 2, b"y")])
        assert store.commit([Change(f"{key} 2", 1, 1, b"y")]) == [True]
        store.close()


def test_waitaof_confirms_a_commit_once_the_replicas_have_it_on_disk(
    running_valkey, valkey_server, tmp_path, key
):
    # longer than a new replica on a busy machine takes for its append-only file
    store = RedisStore(f"{valkey_server.url}?waitaof=1,1", KEPT, 2.0)
    with running_valkey(tmp_path, "--replicaof", "127.0.0.1", str(valkey_server.port)) as replica:
        for _ in range(100):  # until the replica has copied the primary
            with suppress(StoreError):
                assert store.commit([Change(key, 1, 1, b"a")]) == [True]
                break
        assert store.commit([Change(key, 1, 2, b"b")]) == [True]
        replica.kill()
        with pytest.raises(StoreError, match="1 local and 0 replica append-only files"):
            store.commit([Change(key, 1, 3, b"c")])
    store.close()


def test_a_redis_without_waitaof_refuses_commits(redis_server, key):
    with redis.Redis(port=redis_server.port) as admin:
        has_waitaof = "waitaof" in admin.command_list()
    store = RedisStore(f"{redis_server.url}?waitaof=1,0", KEPT, 1.0)
    if has_waitaof:
        assert store.commit([Change(key, 1, 1, b"x")]) == [True]
    else:
        with pytest.raises(StoreError, match="unknown command 'WAITAOF'"):
            store.commit([Change(key, 1, 1, b"x")])
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1?waitaof=2,1&password=a%26b%3Dc%20d&db=3",
        "redis://h:1/3?password=a%26b%3Dc%20d&waitaof=2%2C1",
    ],
)
def test_waitaof_leaves_the_other_options_of_the_url_as_they_are(url):
    rest, wanted = without_waitaof(url)
    assert wanted == (2, 1)
    options = redis.ConnectionPool.from_url(rest).connection_kwargs
    assert (options["password"], options["db"]) == ("a&b=c d", 3)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://x", "use memory, sqlite:PATH, or a redis://"),
        ("sqlite:", "the store sqlite: names no file; use sqlite:PATH or memory"),
        ("sqlite::memory:", "the store sqlite::memory: names no file"),
        ("sqlite:/no/such/folder/x.db", "cannot open the store sqlite:/no/such/folder/x.db"),
        ("redis://h:1?waitaof=many", "use LOCAL,REPLICAS"),
        ("redis://h:x", "cannot use the store redis://h:x"),
        ("redis://h?decode_responses=true", "its option 'decode_responses' is not understood; use"),
        ("redis://:secret@h/3?protocol=3", "its option 'protocol' is not understood; use client"),
        ("redis://h?socket_timeout=0", "its option 'socket_timeout' is not understood; use"),
        ("redis://h?nonsense", "its option 'nonsense' is not understood; use client_name, db"),
        ("redis://h?ssl_ca_certs=ca.pem", "its option 'ssl_ca_certs' is not understood"),
        ("rediss://h?ssl_cert_reqs=some", "Invalid SSL Certificate Requirements Flag: some"),
        ("unix:///r.sock?socket_keepalive=1", "'socket_keepalive' is not understood"),
        ("redis://h/main", "its path must be the number of a database, such as /0"),
        ("redis://:?secret=1@h", r"cannot use the store redis://.*: is the password"),
        ("redi://:secret@h", r"store is 'redi://\*\*\*@h'; use memory"),
        ("redis://:secret#@h", r"cannot use the store redis://\*\*\*@h: is the password"),
        ("redis://:sec/secret@h", r"cannot use the store redis://\*\*\*@h: is the password"),
        ("redis://[secret@h", r"cannot use the store redis://\*\*\*@h: is the password"),
        ("redis://:secret@h:x", r"cannot use the store redis://\*\*\*@h:x: is the password"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url, message):
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")) as caught:
        open_store(url, KEPT, timeout_s=1.0, strict=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://ann:pw@h:1/",
        "redis://h/3?client_name=ann&health_check_interval=5&socket_keepalive=true",
        "redis://h?db=3&username=ann&password=a%26b%40c&waitaof=1,0",
        "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required&ssl_check_hostname=false",
        "unix://ann:pw@/run/r.sock?db=3",
    ],
)
def test_the_options_of_a_redis_that_are_understood_are_accepted(url):
    store = open_store(url, KEPT, timeout_s=1.0, strict=True)
    assert store is not None
    store.close()


def test_memory_is_no_store():
    assert open_store("memory", KEPT, timeout_s=1.0, strict=True) is None
