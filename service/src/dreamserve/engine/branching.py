"""Trying things without consequence: forks of a dream, and ways back to an earlier step.

A fork takes the place of whatever has its id, which may be in a batch right now; so it is work that
writes in a turn of its own, all of its sessions or none.
"""

from collections import deque
from dataclasses import replace

from dreamserve.engine.checks import check_range, check_seed
from dreamserve.engine.sessions import Session, Sessions
from dreamserve.engine.types import ForkRequest, ForkResult, RewindRequest, RewindResult
from dreamserve.engine.work import Work
from dreamserve.errors import InvalidRequestError, StepConflictError


def fork(sessions: Sessions, request: ForkRequest) -> Work[ForkResult]:
    """Make the forks. Raises InvalidRequestError, OverloadedError, and those of `find`."""
    ids, origin = list(request.session_ids), sessions.find(request.session_id)
    if not ids:
        raise InvalidRequestError("a fork makes at least one session")
    if origin.id in ids:
        raise InvalidRequestError(f"session {origin.id} cannot be forked into itself")
    if len(set(ids)) < len(ids):
        raise InvalidRequestError("the forks' session_ids must differ")
    slab, record = origin.slab, origin.slab.record(origin.slot)
    window = slab.windows.get(origin.slot)
    steps = None if window is None else list(window)
    seeds = [record.seed] * len(ids) if request.seeds is None else list(request.seeds)
    if len(seeds) != len(ids):
        raise InvalidRequestError(f"{len(ids)} forks need as many seeds, not {len(seeds)}")
    for seed in seeds:
        check_seed(seed)
    yield None
    sessions.check_room(*ids)
    for session_id, seed in zip(ids, seeds, strict=True):
        forked = sessions.put(session_id, slab.world)
        own = None if window is None or steps is None else deque(steps, window.maxlen)
        slab.restore(forked.slot, replace(record, seed=seed), own)
    return ForkResult(origin.id, slab.world.name, record.step, record.latent[0], ids, seeds)


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
    if step < session.step:
        window = slab.windows[slot]
        record = window[step - earliest]
        kept = deque(list(window)[: step - earliest], window.maxlen)
        slab.restore(slot, record, kept)
    latent, terminated = session.row()[0][0], bool(slab.terminated[slot])
    return RewindResult(session.id, step, latent, terminated, rewindable_to(session))


def rewindable_to(session: Session) -> int:
    """Return the earliest step that the session can go back to, its own if it keeps none."""
    window = session.slab.windows.get(session.slot)
    return window[0].step if window else session.step


def _beyond(session: Session, step: int, earliest: int) -> str:
    if step > session.step:
        return f"the dream is at step {session.step}, and cannot go back to step {step}"
    if session.slot not in session.slab.windows:
        return "this session keeps no steps to go back to; POST /reset with a rewind_window"
    return f"the window goes back to step {earliest}, not to step {step}"
