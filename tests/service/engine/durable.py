"""Replicas for the tests of stored sessions: engines that share a store, and stores that fail."""

import concurrent.futures
from collections.abc import Sequence
from typing import Any, TypeVar

from dreamserve.engine.durability.gate import Durability
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.store.base import Change, Retention, Store, StoreError, Taken
from dreamserve.validation import validated
from dreamserve_protocol.markers import Request

RETENTION = Retention(ttl_s=3600.0, remembered_s=3600.0)
WAIT_S = 20.0

R = TypeVar("R")


class Replica:
    """An engine on a store, driven by the caller's thread."""

    def __init__(
        self,
        store: Store,
        world: World | None = None,
        *,
        strict: bool = True,
        timeout_s: float = 5.0,
        **options: Any,
    ) -> None:
        durability = Durability(store, strict=strict, timeout_s=timeout_s)
        self.engine = Engine([world or fake_world()], durability=durability, **options)

    def submit(self, request: Request[R]) -> "concurrent.futures.Future[R]":
        """Queue a request without running it."""
        return self.engine.submit(validated(type(request), request))

    def finish(self, future: "concurrent.futures.Future[R]") -> R:
        """Run turns until a request's outcome is there; return its result or raise its error."""
        for _ in range(int(WAIT_S / 0.001)):
            self.engine.turn()
            if concurrent.futures.wait([future], timeout=0.001).done:
                break
        return future.result(timeout=0)

    def send(self, request: Request[R]) -> R:
        """Return a request's result, or raise its error."""
        return self.finish(self.submit(request))


class FailingStore:
    """A store whose operations fail as told: before they are applied, or after."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.failures: list[str] = []  # of the next operations: "before" or "after"
        self.is_down = False

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        failure = self._fail_before()
        taken = self.store.take(keys, epoch)
        self._fail_after(failure)
        return taken

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        failure = self._fail_before()
        applied = self.store.commit(changes)
        self._fail_after(failure)
        return applied

    def warnings(self) -> list[str]:
        return []

    def close(self) -> None:
        self.store.close()

    def _fail_before(self) -> str | None:
        failure = self.failures.pop(0) if self.failures else None
        if self.is_down or failure == "before":
            raise StoreError("lost before it was applied")
        return failure

    def _fail_after(self, failure: str | None) -> None:
        if failure == "after":
            raise StoreError("lost after it was applied")
