"""Replicas for the tests of stored sessions: engines that share a store, and stores that fail.

And requests for them, whose outcomes are compared with those of an engine without a store.
"""

import concurrent.futures
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from dreamserve.api import codec
from dreamserve.engine.durability.gate import Durability
from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.store.base import Change, Retention, Store, Stored, StoreError, Taken
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest, StepBatchResult
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.errors import DreamserveError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest, PlanResult
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest, SnapshotRequest
from dreamserve_protocol.step import StepRequest

RETENTION = Retention(ttl_s=3600.0, remembered_s=3600.0)
WAIT_S = 20.0

FRAME = np.random.default_rng(1).integers(0, 255, (8, 8, 3)).astype(np.uint8)

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
        stalls: Stalls | None = None,
        **options: Any,
    ) -> None:
        durability = Durability(store, strict, timeout_s, stalls)
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

    def own_keys(self, most: int) -> list[str]:
        return self.store.own_keys(most)

    def read(self, keys: Sequence[str]) -> list[Stored | None]:
        failure = self._fail_before()
        found = self.store.read(keys)
        self._fail_after(failure)
        return found

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

    def check(self) -> list[str]:
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


def requests_about(names: str) -> st.SearchStrategy[Request[Any]]:
    """Return requests about sessions with these names, at most three in each."""
    ids = st.sampled_from(names)
    some = st.lists(ids, min_size=3, max_size=3, unique=True)
    return st.one_of(
        st.builds(
            ResetRequest,
            session_id=ids,
            seed=st.integers(0, 3),
            max_steps=st.none() | st.just(3),
        ),
        st.builds(
            StepRequest,
            ids,
            st.integers(0, 1),
            step=st.none() | st.integers(1, 4),
            observation=st.none() | st.sampled_from([FRAME, np.zeros(4, np.float32)]),
            include=st.lists(st.sampled_from(["frame", "state", "mixture"]), unique=True),
        ),
        some.map(lambda order: ForkRequest(order[0], session_ids=order[1:])),
        st.builds(SnapshotRequest, ids),
        st.builds(SessionRequest, ids),
        st.builds(DeleteRequest, ids),
        st.builds(PlanRequest, ids, horizon=st.just(2), warm_start=st.just(False)),
        st.builds(
            lambda rows, numbers: StepBatchRequest(
                rows, np.zeros(len(rows), np.int64), steps=numbers[: len(rows)], on_end="restart"
            ),
            st.lists(ids, min_size=1, max_size=3, unique=True),
            st.lists(st.integers(1, 4), min_size=3, max_size=3),
        ),
        some.map(lambda order: ResetBatchRequest(session_ids=order[:2], seeds=[5, 6])),
    )


def outcome(send: Callable[[Request], Any], request: Request) -> Any:
    """Return a request's result as bytes, or its error's code and status."""
    try:
        result = send(validated(type(request), request))
    except DreamserveError as error:
        return type(error)
    if hasattr(result, "idle_s"):
        return (result.step, result.seed, result.terminated, result.max_steps)
    if isinstance(result, StepBatchResult):  # details differ with a store
        failed = [(error.row, error.code) for error in result.errors]
        return failed, codec.encode(replace(result, errors=[]), as_msgpack=True)
    if isinstance(result, PlanResult):
        return result.actions.tobytes()
    return result and codec.encode(result, as_msgpack=True)
