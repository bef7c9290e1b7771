"""Trying things without consequence: forks of a dream, and ways back to an earlier step.

A fork takes the place of whatever has its id, which may be in a batch right now; so it looks at its
origin first, and writes after the batch's steps were taken: all of its sessions or none.
"""

import numpy as np

from dreamserve.engine.checks import check_include, check_range, check_seed
from dreamserve.engine.pixels import picture
from dreamserve.engine.sessions.record import SessionRecord
from dreamserve.engine.sessions.table import Session, Sessions
from dreamserve.engine.sessions.windows import Window
from dreamserve.engine.types import (
    Float32,
    ForkRequest,
    ForkResult,
    Include,
    RewindRequest,
    RewindResult,
    UInt8,
)
from dreamserve.engine.work import Work
from dreamserve.engine.world import World
from dreamserve.errors import DrainingError, InvalidRequestError, StepConflictError

_INCLUDED = frozenset({"frame", "state"})


def fork(sessions: Sessions, request: ForkRequest) -> Work[ForkResult]:
    """Make the forks. Raises InvalidRequestError, OverloadedError, DrainingError, as `find`."""
    ids, origin = list(request.session_ids), sessions.find(request.session_id)
    if not ids:
        raise InvalidRequestError("a fork makes at least one session")
    if origin.id in ids:
        raise InvalidRequestError(f"session {origin.id} cannot be forked into itself")
    if len(set(ids)) < len(ids):
        raise InvalidRequestError("the forks' session_ids must differ")
    check_include(request.include, _INCLUDED, "a fork")
    slab, record = origin.slab, origin.slab.record(origin.slot)
    past = tuple(slab.windows.get(origin.slot) or ())
    seeds = [record.seed] * len(ids) if request.seeds is None else list(request.seeds)
    if len(seeds) != len(ids):
        raise InvalidRequestError(f"{len(ids)} forks need as many seeds, not {len(seeds)}")
    for seed in set(seeds):
        check_seed(seed)
    frame, state = _shown(slab.world, record, request.include)
    yield None
    if request.known_only and not all(session_id in sessions for session_id in ids):
        raise DrainingError("the server is shutting down and takes no new sessions")
    window = record.rewind_window
    sessions.check_room(*ids, window=window)
    slots = [sessions.put(session_id, slab.world, window).slot for session_id in ids]
    slab.restore(np.array(slots), record, np.array(seeds, np.uint64))
    for slot in slots:
        if (kept := slab.windows.get(slot)) is not None:
            kept.extend(past)
    return ForkResult(
        session_id=origin.id,
        world=slab.world.name,
        step=record.step,
        latent=record.latent[0],
        temperature=record.temperature,
        terminated=record.terminated,
        session_ids=ids,
        seeds=seeds,
        frame=frame,
        state=state,
    )


def rewind(session: Session, request: RewindRequest) -> RewindResult:
    """Go back. Raises InvalidRequestError, and StepConflictError beyond the window."""
    if (request.steps is None) == (request.to_step is None):
        raise InvalidRequestError("give steps or to_step, one of them")
    slab, slot = session.slab, session.slot
    if request.steps is not None:
        step = session.step - int(check_range("steps", request.steps, 0))
    else:
        step = int(check_range("to_step", request.to_step or 0, 0))
    earliest = rewindable_to(session)
    if not earliest <= step <= session.step:
        raise StepConflictError(_beyond(session, step, earliest))
    check_include(request.include, _INCLUDED, "a rewind")
    past, back = slab.windows.get(slot) or Window(), session.step - step
    record = past[-back] if back else slab.record(slot)
    frame, state = _shown(session.world, record, request.include)
    if back:
        slab.restore(np.array([slot]), record, np.array([record.seed], np.uint64))
        for _ in range(back):
            past.pop()
    return RewindResult(
        session_id=session.id,
        world=session.world.name,
        step=step,
        latent=record.latent[0].copy(),  # forks may have the same record
        seed=record.seed,
        temperature=record.temperature,
        terminated=record.terminated,
        rewindable_to=earliest,
        frame=frame,
        state=state,
    )


def rewindable_to(session: Session) -> int:
    """Return the earliest step that the session can go back to, its own if it keeps none."""
    window = session.slab.windows.get(session.slot)
    return window[0].step if window else session.step


def _shown(
    world: World, record: SessionRecord, include: Include
) -> tuple[UInt8 | None, dict[str, Float32] | None]:
    """Return the frame and the state, if they are asked for. Raises DreamNotFiniteError."""
    frame = picture(world, record.latent) if "frame" in include else None
    if "state" not in include:
        return frame, None
    tensors = zip(world.spec.recurrent_state, record.state, strict=True)
    return frame, {tensor.name: np.array(part[0]) for tensor, part in tensors}


def _beyond(session: Session, step: int, earliest: int) -> str:
    if step > session.step:
        return f"the dream is at step {session.step}, and cannot go back to step {step}"
    if session.slab.windows.get(session.slot) is None:
        return "this session keeps no steps to go back to; POST /reset with a rewind_window"
    return f"the window goes back to step {earliest}, not to step {step}"
