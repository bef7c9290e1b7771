"""The same dreams without HTTP, in this process and this thread.

    dream = Dream("bundles/takecover")
    session = dream.reset(seed=1).session_id
    answer = dream.step(session_id=session, action=2)
    plan = dream.plan(session_id=session, horizon=30)

`DreamBatch` is the plain array face of it, without sessions: many dreams in lockstep.
"""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Bools, State, UInt64
from dreamserve.backends.choose import BackendName
from dreamserve.engine.actions import check_actions
from dreamserve.engine.checks import check_temperature
from dreamserve.engine.dynamics import advance, empty_state, start_from_bank
from dreamserve.engine.loop import Engine
from dreamserve.engine.types import (
    ForkRequest,
    ForkResult,
    PlanRequest,
    PlanResult,
    Request,
    ResetRequest,
    ResetResult,
    RestoreRequest,
    RewindRequest,
    RewindResult,
    RolloutRequest,
    RolloutResult,
    SampleRequest,
    SampleResult,
    SessionInfo,
    SessionQuery,
    Snapshot,
    SnapshotRequest,
    StepRequest,
    StepResult,
)
from dreamserve.engine.world import World, load_world
from dreamserve.errors import DreamNotFiniteError, InvalidRequestError, NotFiniteInputError

__all__ = ["Dream", "DreamBatch"]

R = TypeVar("R")


class Dream:
    """Sessions on one world, driven by the caller's thread.

    Methods take the fields of the requests in `dreamserve.engine.types` as keyword arguments, and
    raise the errors of `dreamserve.errors`. `options` go to the Engine.
    """

    def __init__(
        self, world: World | str | Path, backend: BackendName = "onnx", **options: Any
    ) -> None:
        self.world = world if isinstance(world, World) else load_world(world, backend)
        self.engine = Engine([self.world], **options)

    def reset(self, **fields: Any) -> ResetResult:
        """Begin a dream, or start one over; fields of `ResetRequest`."""
        return self._ask(ResetRequest(**fields), ResetResult)

    def step(self, **fields: Any) -> StepResult:
        """Advance a dream by one action; fields of `StepRequest`."""
        return self._ask(StepRequest(**fields), StepResult)

    def sample(self, **fields: Any) -> SampleResult:
        """Dream many futures; fields of `SampleRequest`."""
        return self._ask(SampleRequest(**fields), SampleResult)

    def plan(self, **fields: Any) -> PlanResult:
        """Look for the best actions; fields of `PlanRequest`."""
        return self._ask(PlanRequest(**fields), PlanResult)

    def rollout(self, **fields: Any) -> RolloutResult:
        """Dream whole episodes of one policy or many; fields of `RolloutRequest`."""
        return self._ask(RolloutRequest(**fields), RolloutResult)

    def fork(self, **fields: Any) -> ForkResult:
        """Let a dream go on in more than one way; fields of `ForkRequest`."""
        return self._ask(ForkRequest(**fields), ForkResult)

    def rewind(self, **fields: Any) -> RewindResult:
        """Go back to an earlier step; fields of `RewindRequest`."""
        return self._ask(RewindRequest(**fields), RewindResult)

    def snapshot(self, session_id: str) -> Snapshot:
        """Return all that a session is."""
        return self._ask(SnapshotRequest(session_id), Snapshot)

    def restore(self, session_id: str, snapshot: Snapshot) -> SessionInfo:
        """Make a session what a snapshot says."""
        return self._ask(RestoreRequest(session_id, snapshot), SessionInfo)

    def session(self, session_id: str) -> SessionInfo:
        """Say what a session is."""
        return self._ask(SessionQuery(session_id), SessionInfo)

    def delete(self, session_id: str) -> SessionInfo:
        """End a session; returns what it was."""
        return self._ask(SessionQuery(session_id, delete=True), SessionInfo)

    def _ask(self, request: Request, kind: type[R]) -> R:
        future = self.engine.submit(request)
        while not future.done():
            self.engine.turn()
        result = future.result()
        assert isinstance(result, kind)  # each request has its own kind of result
        return result


class DreamBatch:
    """B dreams in lockstep, as arrays. Dream i is the session with seed `seeds[i]`, bit for bit.

    `starts` are None (each from a bank entry drawn from its seed), bank entries (B,) int, or
    latents (B, Z) float with an empty memory. Ended dreams dream on until `keep` drops them.
    Raises InvalidRequestError for arguments that do not fit together.
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
        self._names = tuple(tensor.name for tensor in world.spec.recurrent_state)
        self.latent, self._state = self._begin(starts)

    def __len__(self) -> int:
        return len(self._seed)

    @property
    def state(self) -> dict[str, Array]:
        """The recurrent tensors by name, (B, *shape) each."""
        return dict(zip(self._names, self._state, strict=True))

    def step(self, actions: npt.ArrayLike) -> tuple[Array, Bools]:
        """Take actions (B,) or (B, A); return reward (B,) and terminated (B,).

        Raises InvalidActionError and, leaving all as it was, DreamNotFiniteError.
        """
        checked = check_actions(self.world.spec.action_space, actions, (len(self),))
        number = self._step + 1
        new = advance(
            self.world, self.latent, self._state, checked, self._seed, number, self._temperature
        )
        if not new.finite.all():
            row = int(np.argmin(new.finite))
            raise DreamNotFiniteError(f"dream {row} came out as NaN or infinity")
        self.latent, self._state, self._step = new.latent, new.state, number
        return new.reward, new.terminated

    def correct(self, latent: npt.ArrayLike) -> None:
        """Put what was really seen, (B, Z), in place of what was dreamt; memory stays as it is.

        Raises InvalidRequestError for another shape and NotFiniteInputError for NaN or infinity.
        """
        seen = np.asarray(latent, np.float32)
        if seen.shape != self.latent.shape:
            raise InvalidRequestError(f"latents must be {self.latent.shape}, not {seen.shape}")
        if not np.isfinite(seen).all():
            raise NotFiniteInputError("latents hold NaN or infinity")
        self.latent = seen.copy()

    def keep(self, mask: npt.ArrayLike) -> None:
        """Go on with the dreams where `mask` (B,) is true only."""
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
        raise InvalidRequestError("seeds must be integers of at least 0, one a dream")
    return given.astype(np.uint64)


def _temperatures(given: npt.ArrayLike, rows: int) -> Array:
    temperatures = np.asarray(given, np.float32)
    if temperatures.shape not in ((), (rows,)):
        raise InvalidRequestError(f"temperature must be one number, or {rows} of them")
    for temperature in np.unique(temperatures):
        check_temperature(float(temperature))
    return np.full(rows, temperatures)
