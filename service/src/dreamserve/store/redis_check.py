"""Whether a Redis can keep sessions: a session that is thrown away, and its configuration."""

from contextlib import suppress
from typing import Any

import redis

from dreamserve.store.base import ENDED, Change, Store, StoreError, new_epoch

_CONFIGURATION = ("appendonly", "appendfsync", "maxmemory-policy")
_RECORD = bytes(1024)


def try_session(store: Store, key: str) -> None:
    """Do all that a server does with a session, and end it.

    Raises StoreError if an operation fails, or does not have its effect.
    """
    first, second = new_epoch(), new_epoch()
    if (
        store.read([key]) != [None]
        or store.commit([Change(key, first, 1, _RECORD)]) != [True]
        or store.commit([Change(key, first, 1, None)]) != [True]
        or [one and one.record for one in store.take([key], second)] != [_RECORD]
        or store.commit([Change(key, second, 3, ENDED)]) != [True]
        or [one and one.record for one in store.read([key])] != [ENDED]
    ):
        raise StoreError("redis: it does not keep what it is given")


def configuration_warnings(client: Any) -> list[str]:
    """Return what may lose sessions in a Redis' configuration. Raises StoreError."""
    found: dict[str, str] = {}
    try:
        for name in _CONFIGURATION:  # Redis 6 takes one name
            with suppress(redis.ResponseError):  # as where a provider refuses the command
                found |= client.config_get(name)
    except redis.RedisError as error:
        raise StoreError(f"redis: {error}") from error
    if not found.keys() >= {*_CONFIGURATION}:
        return ["its configuration cannot be read (CONFIG GET is refused, or tells nothing)"]
    warnings = []
    if found["appendonly"] != "yes":
        warnings.append("appendonly is off: sessions are lost when Redis restarts")
    elif found["appendfsync"] != "always":
        warnings.append(
            f"appendfsync is {found['appendfsync']}: a Redis that is killed may lose 2 s"
        )
    if found["maxmemory-policy"] != "noeviction":
        warnings.append(f"maxmemory-policy is {found['maxmemory-policy']}: it may drop sessions")
    return warnings
