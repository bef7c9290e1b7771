"""A store in Redis (or Valkey), for replicas that take over one another's sessions.

A key's value is a stamp of 16 bytes and then the record; the key's own expiry is its retention.
Each operation is one script for up to AT_ONCE keys: Redis compares and sets without another command
in between, in one round trip. Redis Cluster is not supported, as a script's keys have many slots.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from secrets import token_hex
from struct import Struct
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dreamserve.errors import SettingsError
from dreamserve.settings import masked
from dreamserve.store.base import (
    AT_ONCE,
    Change,
    Retention,
    Stored,
    StoreError,
    StoreFullError,
    Taken,
)
from dreamserve.store.redis_check import configuration_warnings, try_session
from dreamserve.store.redis_url import check_url, without_waitaof

PREFIX = "dreamserve:session:"
NOT_ENCODED = (
    "is the password percent-encoded, the port a number, the database too, each option valid?"
)
REDIS_TICKS_S = 0.25  # Redis looks for timeouts every 0.1 s; it must reply before the socket's
MOST_KEPT_S = 2**32 - 1
_EPOCH = Struct(">Q")
_WRITE, _RENEW, _CHECK = b"w", b"r", b"c"

# A value's stamp: its epoch, 8 bytes; for how many seconds it is kept, 4; its version, 4. The
# seconds tell when it was used, whatever time to live others have; 0 in values of older releases.
_READ_SCRIPT = """
local found = {}
for i, key in ipairs(KEYS) do
    local value = redis.call('GET', key)
    found[i] = value and {
        value:sub(17), redis.call('PTTL', key), struct.unpack('>I4', value:sub(9, 12))
    }
end
return found
"""
_TAKE_SCRIPT = """
local taken = {}
for i, key in ipairs(KEYS) do
    local value = redis.call('GET', key)
    if value then
        local kept, version = struct.unpack('>I4I4', value:sub(9, 16))
        taken[i] = {value:sub(17), redis.call('PTTL', key), kept, version + 1}
        local stamp = ARGV[1] .. struct.pack('>I4I4', kept, version + 1)
        local reply = redis.pcall('SETRANGE', key, 0, stamp)
        if type(reply) == 'table' and reply.err then
            if not reply.err:find('OOM', 1, true) then return redis.error_reply(reply.err) end
            taken[i][5] = value:sub(1, 8)
        end
    else
        taken[i] = false
    end
end
return taken
"""
# ARGV: seconds to keep, then for each key its epoch, version, operation and record
_COMMIT_SCRIPT = """
local applied = {}
local kept = struct.pack('>I4', ARGV[1])
for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    local epoch, version, operation = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
    local stored = redis.call('GETRANGE', key, 0, 15)
    local owned
    if stored == '' then
        owned = version == 1 and operation == 'w'
    else
        owned = stored:sub(1, 8) == epoch and struct.unpack('>I4', stored:sub(13)) <= version
    end
    applied[i] = 0
    if owned then
        applied[i] = 1
        if operation == 'w' then
            local stamp = epoch .. kept .. struct.pack('>I4', version)
            local record = ARGV[at + 3]
            local reply = redis.pcall('SET', key, stamp .. record, 'EX', ARGV[1])
            if reply.err and record == '' then -- a full Redis, of which a session is ended
                redis.call('DEL', key)
            elseif reply.err then
                return redis.error_reply(reply.err)
            end
        elseif operation == 'r' then
            local seconds, other = ARGV[1], struct.unpack('>I4', stored:sub(9))
            if stored:sub(9, 12) ~= kept then
                local reply = redis.pcall('SETRANGE', key, 8, kept)
                local is_full = type(reply) == 'table' and reply.err
                if is_full and other > 0 then seconds = other end
            end
            redis.call('EXPIRE', key, seconds)
        end
    end
end
return applied
"""


class RedisStore:
    """Store at a redis://, rediss:// or unix:// URL.

    The URL's option `waitaof=LOCAL,REPLICAS` makes each commit wait until that many local and
    replica append-only files have it on disk (WAITAOF of Redis 7.2). Raises SettingsError for a URL
    that is not valid, or has an option that is not understood. A server that does not answer is no
    error here: operations raise StoreError.
    """

    def __init__(self, url: str, retention: Retention, timeout_s: float) -> None:
        self._kept_s = min(MOST_KEPT_S, ceil(retention.kept_s))
        self._waitaof_ms = int(1e3 * (timeout_s - min(REDIS_TICKS_S, timeout_s / 2)))
        try:
            check_url(url)
            url, self._wait_for = without_waitaof(url)
            # The caller decides what is sent again, and until when.
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
            self._redis.connection_pool.make_connection()  # without connecting: checks the options
        except (ValueError, TypeError, redis.RedisError) as error:
            # The library's message may quote a part of the password.
            reason = NOT_ENCODED if "@" in url else str(error)
            raise SettingsError(f"cannot use the store {masked(url)}: {reason}") from None
        self._read = self._redis.register_script(_READ_SCRIPT)
        self._take = self._redis.register_script(_TAKE_SCRIPT)
        self._commit = self._redis.register_script(_COMMIT_SCRIPT)

    def own_keys(self, most: int) -> list[str]:
        return []

    def read(self, keys: Sequence[str]) -> list[Stored | None]:
        replies = self._run_all(self._read, keys, [])
        return [reply and Stored(reply[0], self._idle_s(*reply[1:3])) for reply in replies]

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        replies = self._run_all(self._take, keys, [_EPOCH.pack(epoch)])
        return [reply and self._taken(*reply) for reply in replies]

    def _taken(
        self, record: bytes, left_ms: int, kept_s: int, version: int, left_with: bytes | None = None
    ) -> Taken:
        epoch = None if left_with is None else _EPOCH.unpack(left_with)[0]
        return Taken(version, record, self._idle_s(left_ms, kept_s), epoch)

    def _idle_s(self, left_ms: int, kept_s: int) -> float:
        """Return for how long a key was not used that is kept for another `left_ms` of `kept_s`.

        It may have more time left than it was given, if Redis' clock was set back.
        """
        return max(0.0, (kept_s or self._kept_s) - 1e-3 * left_ms)

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        applied: list[Any] = []
        for first in range(0, len(changes), AT_ONCE):
            part = changes[first : first + AT_ONCE]
            arguments: list[bytes | int] = [self._kept_s]
            for _, epoch, version, record, renew in part:
                operation = _WRITE if record is not None else _RENEW if renew else _CHECK
                arguments += (_EPOCH.pack(epoch), version, operation, record or b"")
            applied += self._run(self._commit, [change.key for change in part], arguments)
        self._wait()
        return [reply == 1 for reply in applied]

    def check(self) -> list[str]:
        key = f"?{token_hex(8)}"  # which no session has
        try:
            try_session(self, key)
        finally:
            with suppress(redis.RedisError):  # it may be forbidden, and the key expires
                self._redis.delete(PREFIX + key)
        return configuration_warnings(self._redis)

    def close(self) -> None:
        self._redis.close()

    def _run_all(
        self, script: Any, keys: Sequence[str], arguments: Sequence[bytes | int]
    ) -> list[Any]:
        """Run a script whose arguments are the same for all keys, for AT_ONCE keys at a time."""
        replies: list[Any] = []
        for first in range(0, len(keys), AT_ONCE):
            replies += self._run(script, keys[first : first + AT_ONCE], arguments)
        return replies

    def _run(self, script: Any, keys: Sequence[str], arguments: Sequence[bytes | int]) -> Any:
        try:
            return script(keys=[PREFIX + key for key in keys], args=arguments)
        except redis.RedisError as error:
            # Some releases begin these messages otherwise. MISCONF: its disk is full, or fails.
            if "maxmemory" in str(error) or "MISCONF" in str(error):
                raise StoreFullError(f"redis: {error}") from error
            if isinstance(error, redis.ResponseError):
                # After a failover the old primary, now a replica, refuses commits for ever, but
                # keeps the connection: a new one leads to where the name points now.
                self._redis.connection_pool.disconnect()
            raise StoreError(f"redis: {error}") from error

    def _wait(self) -> None:
        if self._wait_for is None:
            return
        try:
            wanted_local, wanted_replicas = self._wait_for
            local, replicas = self._redis.waitaof(wanted_local, wanted_replicas, self._waitaof_ms)
        except redis.RedisError as error:
            raise StoreError(f"redis: {error}") from error
        if local < wanted_local or replicas < wanted_replicas:
            raise StoreError(
                f"redis: {local} local and {replicas} replica append-only files have the commit,"
                f" not {wanted_local} and {wanted_replicas}"
            )
