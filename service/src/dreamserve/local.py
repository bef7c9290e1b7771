"""The verbs without HTTP, in this process and thread.

    dreams = LocalClient("bundles/takecover")
    session_id = dreams.reset(seed=1).session_id
    step = dreams.step(session_id, 2)
    plan = dreams.plan(session_id, horizon=30)

`DreamBatch` has no sessions, only arrays: many dreams in lockstep.
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import wraps
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Bools, State, UInt64
from dreamserve.backends.choose import BackendName
from dreamserve.engine.dynamics import advance, empty_state, start_from_bank
from dreamserve.engine.engine import Engine
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.trust import UNTRUSTED, Trust
from dreamserve.validation import plain, validated
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.common import MAX_TEMPERATURE
from dreamserve_protocol.errors import (
    DreamNotFiniteError,
    InvalidRequestError,
    NotFiniteInputError,
)
from dreamserve_protocol.interrupts import signals_wait
from dreamserve_protocol.listing import (
    AdminDeleteRequest,
    AdminSessionsRequest,
    DeleteIdleRequest,
    SessionsRequest,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.pictures import UNBOUNDED
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

__all__ = ["DreamBatch", "LocalClient"]

# How soon a thread looks again whether another one still takes turns: at first, and at the latest.
SOON_S, LATE_S = 1e-3, 0.03

P = ParamSpec("P")
R = TypeVar("R")


def _verb(
    build: Callable[P, Request[R]],
) -> Callable[Concatenate["LocalClient", P], R]:
    @wraps(build, assigned=("__doc__",), updated=())
    def method(self: "LocalClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.send(build(*args, **kwargs))

    return method


class LocalClient:
    """Sessions on one world, driven by the caller's thread.

    Methods take the fields of the protocol's requests, return its results, and raise its errors.
    A bundle's folder is loaded on `backend` with `trust`, as `load_world` says. `options` go to the
    Engine.
    """

    reset = _verb(ResetRequest)
    step = _verb(StepRequest)
    reset_batch = _verb(ResetBatchRequest)
    step_batch = _verb(StepBatchRequest)
    delete_batch = _verb(DeleteBatchRequest)
    sample = _verb(SampleRequest)
    plan = _verb(PlanRequest)
    rollout = _verb(RolloutRequest)
    fork = _verb(ForkRequest)
    rewind = _verb(RewindRequest)
    snapshot = _verb(SnapshotRequest)
    restore = _verb(RestoreRequest)
    session = _verb(SessionRequest)
    delete = _verb(DeleteRequest)
    sessions = _verb(SessionsRequest)
    delete_idle = _verb(DeleteIdleRequest)
    admin_sessions = _verb(AdminSessionsRequest)
    admin_delete = _verb(AdminDeleteRequest)

    def __init__(
        self,
        world: World | str | Path,
        backend: BackendName = "onnx",
        trust: Trust = UNTRUSTED,
        **options: Any,
    ) -> None:
        self.world = world if isinstance(world, World) else load_world(world, backend, trust=trust)
        self.engine = Engine([self.world], **options)
        self._turns = Lock()  # one thread takes turns for all that wait

    def send(
        self,
        request: Request[R],
        timeout_s: float = inf,
        between_turns: Callable[[], None] = lambda: None,
    ) -> R:
        """Return a request's result, or raise its error; from any thread.

        Raises TimeoutError, and cancels the request, if it takes longer; a step that has begun is
        computed to its end. `between_turns` is called while long work goes on; what it raises
        cancels the request, too. So does the handler of a signal, such as that of Ctrl-C, if it
        raises: it is called between turns of the engine.
        """
        until_s = monotonic() + timeout_s
        checked = validated(type(request), plain(request), UNBOUNDED)
        with signals_wait() as signals:
            future = self.engine.submit(checked)
            try:
                pause_s = self._advance(future, SOON_S)
                while not future.done():
                    signals.deliver()
                    between_turns()
                    if monotonic() >= until_s and future.cancel():
                        raise TimeoutError
                    pause_s = self._advance(future, pause_s)
            except BaseException:
                future.cancel()
                raise
        return future.result()

    def _advance(self, future: "Future[Any]", pause_s: float) -> float:
        """Take a turn, or wait for those of another thread, which may complete `future`, too.

        Return how long to wait next time.
        """
        if not self._turns.acquire(blocking=False):
            wait([future], pause_s)
            return min(2 * pause_s, LATE_S)
        try:
            self.engine.turn()
        finally:
            self._turns.release()
        return SOON_S


class DreamBatch:
    """B dreams in lockstep, as arrays. Dream i is the session with seed `seeds[i]`, bit for bit.

    `starts` are None (bank entries drawn from the seeds), bank entries (B,) int, or latents (B, Z)
    float with a zero recurrent state. Ended dreams are still stepped until `keep` drops them.
    Raises InvalidRequestError for inconsistent arguments.
    """

    def __init__(
        self,
        world: World,
        seeds: npt.ArrayLike,
        temperature: npt.ArrayLike = 1.0,
        starts: npt.ArrayLike | None = None,
    ) -> None:
        self.world = world
        self._seed = _seeds(seeds)
        rows = len(self._seed)
        self._temperature = _temperatures(temperature, rows)
        self._step = np.zeros(rows, np.int64)
        self.latent, self._state = self._begin(starts)

    def __len__(self) -> int:
        return len(self._seed)

    @property
    def state(self) -> dict[str, Array]:
        """The recurrent tensors by name, (B, *shape) each."""
        return self.world.spec.named_state(self._state)

    def step(self, actions: npt.ArrayLike) -> tuple[Array, Bools]:
        """Take actions (B,) or (B, A); return reward (B,) and terminated (B,).

        Raises InvalidActionError and DreamNotFiniteError; the dreams are then unchanged.
        """
        checked = self.world.spec.action_space.check(actions, (len(self),))
        number = self._step + 1
        new = advance(
            self.world, self.latent, self._state, checked, self._seed, number, self._temperature
        )
        if not new.finite.all():
            row = int(np.argmin(new.finite))
            raise DreamNotFiniteError(f"dream {row} became NaN or infinity")
        self.latent, self._state, self._step = new.latent, new.state, number
        return new.reward, new.terminated

    def correct(self, latent: npt.ArrayLike) -> None:
        """Replace the latents by observed ones (B, Z); the recurrent state is unchanged.

        Raises InvalidRequestError for another shape and NotFiniteInputError for NaN or infinity.
        """
        observed = np.asarray(latent, np.float32)
        if observed.shape != self.latent.shape:
            raise InvalidRequestError(f"latents must be {self.latent.shape}, not {observed.shape}")
        if not np.isfinite(observed).all():
            raise NotFiniteInputError("latents hold NaN or infinity")
        self.latent = observed.copy()

    def keep(self, mask: npt.ArrayLike) -> None:
        """Keep only the dreams where `mask` (B,) is true."""
        rows = np.asarray(mask, np.bool_)
        self.latent, self._state = self.latent[rows], tuple(part[rows] for part in self._state)
        self._seed, self._step = self._seed[rows], self._step[rows]
        self._temperature = self._temperature[rows]

    def _begin(self, starts: npt.ArrayLike | None) -> tuple[Array, State]:
        if starts is None:
            return start_from_bank(self.world, self._seed)
        given, rows = np.asarray(starts), len(self)
        if given.dtype.kind in "iu" and given.shape == (rows,):
            if (given < 0).any() or (given >= self.world.bank_size).any():
                raise InvalidRequestError(f"the bank has entries 0 to {self.world.bank_size - 1}")
            return start_from_bank(self.world, self._seed, given.astype(np.int64))
        if given.dtype.kind == "f" and given.shape == (rows, self.world.spec.latent_size):
            if not np.isfinite(given).all():
                raise NotFiniteInputError("starts hold NaN or infinity")
            return given.astype(np.float32), empty_state(self.world, rows)
        size = self.world.spec.latent_size
        raise InvalidRequestError(
            f"starts must be bank entries ({rows},) or latents ({rows}, {size}),"
            f" not {given.dtype} {given.shape}"
        )


def _seeds(seeds: npt.ArrayLike) -> UInt64:
    given = np.asarray(seeds)
    if given.ndim != 1 or len(given) == 0 or given.dtype.kind not in "iu" or (given < 0).any():
        raise InvalidRequestError("seeds must be integers of at least 0, one for each dream")
    return given.astype(np.uint64)


def _temperatures(given: npt.ArrayLike, rows: int) -> Array:
    temperatures = np.asarray(given, np.float32)
    if temperatures.shape not in ((), (rows,)):
        raise InvalidRequestError(f"temperature must be one number, or {rows} of them")
    if not ((temperatures >= 0) & (temperatures <= MAX_TEMPERATURE)).all():
        raise InvalidRequestError(f"a temperature must be within 0 and {MAX_TEMPERATURE:g}")
    return np.full(rows, temperatures)
