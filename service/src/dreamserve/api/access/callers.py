"""Who sends a request, and whether they may: API keys, administrators, rate limits.

Every transport passes a `Caller` to the engine with each request. Without keys and limits there is
one caller, `ANYONE`, and nothing is checked.
"""

import logging
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

from starlette.types import Scope

from dreamserve.api.access.keys import Key, digest_of, read_keys
from dreamserve.api.access.rate_limits import Addresses, TokenBucket
from dreamserve.api.bodies import Headers
from dreamserve.engine.limits import Quota
from dreamserve.settings import Settings
from dreamserve_protocol.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import ADMIN_REQUESTS

SUBPROTOCOL = "dreamserve"  # of a WebSocket
KEY_SUBPROTOCOL = b"dreamserve-key-"  # with the key behind it: browsers can set no other header

log = logging.getLogger("dreamserve")


class Caller:
    """Whose requests come on a connection."""

    __slots__ = ("_clock", "bucket", "is_admin", "is_revoked", "owner")

    def __init__(
        self,
        owner: str = "",
        *,
        is_admin: bool = False,
        bucket: TokenBucket | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.owner, self.is_admin, self.bucket, self._clock = owner, is_admin, bucket, clock
        self.is_revoked = False

    def check(self) -> None:
        """Count a request. Raises RateLimitedError, and UnauthorizedError for a revoked key."""
        if self.is_revoked:
            raise _unauthorized("the API key is no longer valid", was_sent=True)
        if self.bucket is not None and (wait_s := self.bucket.take(self._clock())):
            who = f"API key {self.owner}" if self.owner else "address"
            error = RateLimitedError(f"too many requests of this {who}; wait {wait_s:.3g} s")
            error.retry_after_s = wait_s
            raise error

    def check_may(self, request: Request[object]) -> None:
        """Raise ForbiddenError for a request of administrators, unless this is one."""
        if not self.is_admin and type(request) in ADMIN_REQUESTS:
            raise ForbiddenError("this needs an API key with admin = true")


ANYONE = Caller()


class KeyRing:
    """The keys of a file, which may change: a caller stays the same object as long as its key."""

    def __init__(self, path: Path, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._path, self._rate, self._burst, self._clock = path, rate, burst, clock
        self._seen = _version(path)
        self._callers: dict[str, Caller] = {}  # by digest
        # By the usual header, `Bearer KEY`, once it was found valid: hashing the key takes a tenth
        # of a step's time. Python compares the bytes only if their 64-bit hashes are equal, which
        # are keyed by a secret of the process, so this search tells nothing either.
        self.known: dict[bytes, Caller] = {}
        self._buckets: dict[str, TokenBucket] = {}  # by owner
        self.quotas: dict[str, Quota] = {}
        self._use(read_keys(path))

    def find(self, key: bytes) -> Caller | None:
        """Return the caller that has this key."""
        found = self._callers.get(digest_of(key))
        if found is not None:
            self.known[b"Bearer " + key] = found
        return found

    def has_changed(self) -> bool:
        """Return whether the file is another one than was read last."""
        return _version(self._path) != self._seen

    def reload(self) -> bool:
        """Read the file again if it has changed; return whether other keys are valid now.

        While the file is not valid, the previous keys stay valid.
        """
        version = _version(self._path)
        if version == self._seen:
            return False
        self._seen = version
        try:
            keys = read_keys(self._path)
        except Exception as error:
            log.error("the previous API keys stay valid: %s", error)
            return False
        self._use(keys)
        log.info("read %d API keys", len(keys))
        return True

    def _use(self, keys: list[Key]) -> None:
        self._buckets = {key.name: bucket for key in keys if (bucket := self._bucket_of(key))}
        callers = {key.sha256: self._caller_of(key) for key in keys}
        for digest in self._callers.keys() - callers.keys():
            self._callers[digest].is_revoked = True
        self._callers = callers
        self.known = {}
        self.quotas = {key.name: key.quota for key in keys}

    def _caller_of(self, key: Key) -> Caller:
        caller = self._callers.get(key.sha256)
        if caller is None:
            caller = Caller(clock=self._clock)
        caller.owner, caller.is_admin = key.name, key.admin
        caller.bucket = self._buckets.get(key.name)
        return caller

    def _bucket_of(self, key: Key) -> TokenBucket | None:
        rate = key.requests_per_s or self._rate
        if not rate:
            return None
        burst = key.burst or self._burst
        if (bucket := self._buckets.get(key.name)) is None:
            return TokenBucket(rate, burst)
        bucket.set(rate, burst)
        return bucket


class Access:
    """Finds the caller of each request, by its API key or else by its address."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys. Raises SettingsError."""
        rate, burst = settings.requests_per_s, settings.request_burst
        self._clock = clock
        self.keys: KeyRing | None = None
        self._addresses: Addresses | None = None
        if settings.api_keys_file:
            self.keys = KeyRing(Path(settings.api_keys_file), rate, burst, clock)
        elif rate:
            self._addresses = Addresses(rate, burst)

    @property
    def is_open(self) -> bool:
        """Whether nothing is checked: there are no keys and no limits."""
        return self.keys is None and self._addresses is None

    def caller(self, scope: Scope, headers: Headers) -> Caller:
        """Return who sends a request, which is counted.

        Raises UnauthorizedError, RateLimitedError.
        """
        if self.keys is not None:
            found = self.keys.known.get(headers.get(b"authorization", b"")) or self._find(headers)
        elif self._addresses is not None:
            client = scope.get("client")
            bucket = self._addresses.bucket(client[0] if client else "", self._clock())
            found = Caller(bucket=bucket, clock=self._clock)
        else:
            return ANYONE
        found.check()
        return found

    def _find(self, headers: Headers) -> Caller:
        """Return the caller whose key a request has. Raises UnauthorizedError."""
        key = key_in(headers)
        if key is None or self.keys is None:
            raise _unauthorized("send an API key: Authorization: Bearer KEY", was_sent=False)
        found = self.keys.find(key)
        if found is None:
            raise _unauthorized("the API key is not valid", was_sent=True)
        return found


def key_in(headers: Headers) -> bytes | None:
    """Return the API key of a request or of a WebSocket's handshake, if it has one.

    `Authorization: Bearer KEY`; or Basic with the key as the password, for clients that can only
    send a URL such as https://:KEY@host; or a subprotocol of a WebSocket.
    """
    scheme, _, value = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return b64decode(value.strip(), validate=True).partition(b":")[2]
        except ValueError:
            return b""
    for offered in headers.get(b"sec-websocket-protocol", b"").split(b","):
        if offered.strip().startswith(KEY_SUBPROTOCOL):
            return offered.strip().removeprefix(KEY_SUBPROTOCOL)
    return None


def _unauthorized(detail: str, *, was_sent: bool) -> UnauthorizedError:
    error = UnauthorizedError(detail)
    error.key_was_sent = was_sent
    return error


def _version(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced, or the symbolic link to it is."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ino, found.st_size)
