"""`dreamserve doctor` tries the store as a server uses it, and reads the files that it takes."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dreamserve.store import sqlite
from dreamserve.store.base import Change, Retention
from dreamserve.store.redis import RedisStore
from dreamserve.store.sqlite import SqliteStore

KEPT = Retention(ttl_s=60.0, remembered_s=60.0)


@pytest.fixture(scope="module")
def server(running_redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    options = ("--maxmemory-policy", "noeviction")
    with running_redis(tmp_path_factory.mktemp("redis"), *options) as one:
        yield one


@pytest.fixture
def client(server) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port, socket_timeout=5.0) as one:
        yield one
        one.config_set("maxmemory", 0)


def told(done) -> str:
    """Return the lines about the store, without their breaks."""
    return " ".join(done.out.partition("store ")[2].partition("warning   bundle")[0].split())


def test_a_store_that_keeps_sessions_is_well_and_nothing_is_left_in_it(run, server, client) -> None:
    done = run("doctor", "--port", "0", "--store", server.url)
    assert done.status == 0
    assert told(done).startswith("redis keeps what it is given")
    assert client.keys("*") == []


@pytest.mark.parametrize("refused", ["evalsha", "set", "getrange", "expire", "setrange"])
def test_a_user_who_may_not_do_what_the_server_does_is_a_problem(
    run, server, client, refused
) -> None:
    client.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", f"-{refused}"]
    )
    url = server.url.replace("//", "//limited:pw@")
    done = run("doctor", "--port", "0", "--store", url)
    assert done.status == 1
    assert re.search("permission|can't run this command", told(done))
    assert client.keys("*") == []


def test_a_redis_without_room_is_a_problem(run, server, client) -> None:
    client.config_set("maxmemory", 1)
    done = run("doctor", "--port", "0", "--store", server.url)
    assert done.status == 1
    assert "maxmemory" in told(done)


def test_append_only_files_that_do_not_confirm_are_a_problem(run, server) -> None:
    url = f"{server.url}?waitaof=1,1"  # a Redis older than 7.2, or one without a replica
    assert (
        run("doctor", "--port", "0", "--store", url, DREAMSERVE_STORE_TIMEOUT_S="0.5").status == 1
    )


def test_a_store_that_keeps_nothing_is_a_problem(run, server, client, monkeypatch) -> None:
    monkeypatch.setattr(RedisStore, "read", lambda self, keys: [None for _ in keys])
    done = run("doctor", "--port", "0", "--store", server.url)
    assert done.status == 1
    assert "does not keep what it is given" in told(done)
    assert client.keys("*") == []


def test_a_redis_6_whose_config_get_takes_one_name_is_asked_for_each(server, monkeypatch) -> None:
    asked = redis.Redis.config_get

    def config_get(self, pattern: str = "*", *others: str) -> object:
        if others:
            raise redis.ResponseError("Unknown subcommand or wrong number of arguments for 'GET'")
        return {**asked(self, pattern), **changed}

    monkeypatch.setattr(redis.Redis, "config_get", config_get)
    store = RedisStore(server.url, KEPT, 5.0)
    changed: dict[str, str] = {}
    assert store.check() == []
    changed |= {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
    first, second = store.check()
    assert first.startswith("appendonly is off")
    assert second.startswith("maxmemory-policy is allkeys-lru")
    store.close()


@pytest.mark.parametrize("refusal", [None, redis.ResponseError("unknown command 'CONFIG'")])
def test_a_configuration_that_is_not_told_is_a_warning(run, server, monkeypatch, refusal) -> None:
    def config_get(self, *names: str) -> dict[str, str]:
        if refusal is not None:
            raise refusal
        return {}

    monkeypatch.setattr(redis.Redis, "config_get", config_get)
    done = run("doctor", "--port", "0", "--store", server.url)
    assert done.status == 0
    assert "its configuration cannot be read" in told(done)


def test_a_file_that_is_not_there_is_tried_and_not_made(run, tmp_path) -> None:
    done = run("doctor", "--port", "0", "--store", "sqlite:new.db")
    assert done.status == 0
    assert list(tmp_path.iterdir()) == []
    done = run("doctor", "--port", "0", "--store", "sqlite:nowhere/new.db")
    assert done.status == 1
    assert "nowhere" in told(done)


def test_a_file_of_sessions_is_tried_and_keeps_them_however_old_they_are(run, tmp_path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(str(path), KEPT, 5.0, sync=False)
    store.commit([Change("a", 1, 1, b"record")])
    store._connection.execute("UPDATE sessions SET used_at_s = 1")
    store.close()
    done = run("doctor", "--port", "0", "--store", f"sqlite:{path}")
    assert (done.status, told(done)) == (0, "sqlite keeps what it is given")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT key FROM sessions").fetchall() == [("a",)]
    connection.close()


def test_a_file_that_cannot_grow_is_a_problem(run, tmp_path, monkeypatch) -> None:
    small = sqlite._SCHEMA + "PRAGMA max_page_count = 10;"
    monkeypatch.setattr(sqlite, "_SCHEMA", small)
    done = run("doctor", "--port", "0", "--store", "sqlite:new.db")
    assert done.status == 1
    assert "database or disk is full" in told(done)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DREAMSERVE_API_KEYS_FILE": "no-keys"}, "API keys: no-keys: No such file"),
        (
            {"DREAMSERVE_TLS_CERT": "c.pem", "DREAMSERVE_TLS_KEY": "k.pem"},
            "c.pem .* cannot be used",
        ),
        ({"DREAMSERVE_TLS_CERT": "c.pem"}, "both --tls-cert and --tls-key"),
        ({"DREAMSERVE_WORLDS_FOLDER": "no-worlds"}, "no-worlds is no folder"),
    ],
)
def test_a_file_that_serving_needs_is_read(run, variables, message) -> None:
    done = run("doctor", "--port", "0", **variables)
    assert done.status == 1
    assert re.search(f"problem +settings +.*{message}", " ".join(done.out.split())), done.out


def test_a_file_of_keys_that_is_right_is_well(run, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(run("key", "new", "robots").out)
    done = run("doctor", "--port", "0", DREAMSERVE_API_KEYS_FILE="keys")
    assert done.status == 0
