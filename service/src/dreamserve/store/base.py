"""The interface of a store: records by key, each fenced by (epoch, version).

An epoch is a random number that an engine chooses when it creates a session or takes one over from
the store; the version counts commits and takeovers. A change is applied only if the stored session
has the engine's epoch, and no later version. So of two engines that hold copies of a session only
one can commit, whatever the other one believes; a request that was delayed on a connection that
broke cannot undo what came after it; and an owner's next commit repairs a store that has lost its
last ones. Epochs are compared for equality only, so they need not be counted, and an engine chooses
one without asking: the first steps of a new session are computed before the store knows of it.

Every operation may be sent again after a failure: a change that was applied already is confirmed.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ENDED = b""  # the record of a session that was ended on request; its key is kept for a while
FIRST_VERSION = 1  # of a session that is new to the store
AT_ONCE = 256  # keys of one round trip; a store that is shared must not be blocked for long


class StoreError(Exception):
    """The store did not confirm an operation, which it may have applied or not."""


class StoreFullError(StoreError):
    """The store responds, but has no room for a record, which waiting seldom changes.

    What needs no room may be confirmed.
    """


class Change(NamedTuple):
    """A commit of one session, or a check that it is still owned.

    It is applied if the stored session has this epoch and at most this version; version 1, which is
    a new session, only if there is no session with that key, or it has this epoch and version.
    """

    key: str
    epoch: int
    version: int
    record: bytes | None  # the new record; ENDED; None: a check
    renew: bool = True  # the time to live, with a check; a new record always does


class Stored(NamedTuple):
    """A stored session as it was read; it belongs to whom it did before."""

    record: bytes  # ENDED if it was ended
    idle_s: float  # since its time to live was renewed


class Taken(NamedTuple):
    """A stored session that now belongs to the epoch with which it was taken.

    A store that is full may leave it with the epoch that has it. It can then only be ended, which
    the store takes from whoever knows that epoch.
    """

    version: int  # since the takeover
    record: bytes  # ENDED if it was ended
    idle_s: float  # since its time to live was renewed
    left_with: int | None = None  # the epoch that still has it


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a store keeps a session that nobody uses."""

    ttl_s: float  # until it expires
    remembered_s: float  # after that, until it is unknown; also of a session that was ended

    @property
    def kept_s(self) -> float:
        """Seconds until an unused record is removed."""
        return self.ttl_s + self.remembered_s


class Store(Protocol):
    """Keeps records, for one thread at a time. Methods are bounded in time and raise StoreError."""

    def own_keys(self, most: int) -> list[str]:
        """Return the keys of at most `most` live sessions, those that were used last.

        Only of those that no other server uses: none of a store that is shared.
        """
        ...

    def read(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return sessions, and change nothing; None for a key without a session."""
        ...

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        """Give each session this epoch and its next version; None for a key without a session."""
        ...

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Apply changes of different sessions, each alone, in order; return which were applied.

        Raises StoreFullError at the first record that finds no room, unless it is ENDED.
        """
        ...

    def check(self) -> list[str]:
        """Try the store with a session that is thrown away; return what else may lose sessions.

        It changes no other session. Raises StoreError for a store that cannot keep sessions.
        """
        ...

    def close(self) -> None:
        """Close connections and files."""
        ...


def new_epoch() -> int:
    """Return a random epoch of 63 bits, never 0."""
    return secrets.randbits(63) or 1
