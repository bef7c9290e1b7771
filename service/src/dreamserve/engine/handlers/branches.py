"""/sessions/{session_id}/fork and /rewind: copy a session, or return it to an earlier step."""

from collections.abc import Callable, Sequence
from typing import Any

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.sessions.records import SessionRecord
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.shown import shown
from dreamserve.engine.world import World
from dreamserve_protocol.branches import ForkRequest, ForkResult, RewindRequest, RewindResult
from dreamserve_protocol.errors import A_RESET, StepConflictError
from dreamserve_protocol.ids import new_id, route_of


def fork(context: Context, request: ForkRequest) -> Callable[[], ForkResult]:
    """Read the origin, and return a function that makes the forks: all of them or none.

    A fork replaces the session that has its id, which may be in the same batch, so forks are made
    after the batch's steps. Raises CallerError, DreamNotFiniteError, DrainingError.
    """
    context.limits.check_forks(request.rows)
    sessions, origin = context.sessions, context.sessions.find(request.session_id)
    route = route_of(origin.id)  # a load balancer finds the forks here, too
    ids = list(request.session_ids or (new_id(route) for _ in range(request.rows)))
    world, record, past = origin.world, origin.record(), origin.past()
    seeds = [record.seed] * len(ids) if request.seeds is None else list(request.seeds)
    included = _included(world, record, request.include)

    def make() -> ForkResult:
        sessions.check_admission(*ids)
        forks = sessions.create_all(ids, world, record.rewind_window, origin.id)
        for session, seed in zip(forks, seeds, strict=True):
            session.restore(record, seed, past)
        return ForkResult(
            session_id=origin.id,
            world=world.name,
            step=record.step,
            latent=record.latent[0],
            temperature=record.temperature,
            terminated=record.terminated,
            truncated=record.truncated,
            session_ids=ids,
            seeds=seeds,
            **included,
        )

    return make


def rewind(context: Context, request: RewindRequest) -> RewindResult:
    """Rewind. Raises StepConflictError outside the window, DreamNotFiniteError, and as `find`."""
    session = context.sessions.find(request.session_id)
    step = session.step - request.steps if request.steps is not None else request.to_step or 0
    earliest = session.rewindable_to
    if not earliest <= step <= session.step:
        raise StepConflictError(_conflict(session, step, earliest))
    record = session.record_at(step)
    included = _included(session.world, record, request.include)
    session.rewind(step)
    return RewindResult(
        session_id=session.id,
        world=session.world.name,
        step=step,
        latent=record.latent[0].copy(),  # forks may share the record
        seed=record.seed,
        temperature=record.temperature,
        terminated=record.terminated,
        truncated=record.truncated,
        rewindable_to=earliest,
        **included,
    )


def _included(world: World, record: SessionRecord, include: Sequence[str]) -> dict[str, Any]:
    """Return what `include` names, by field. Raises InvalidRequestError, DreamNotFiniteError."""
    included: dict[str, Any] = {**shown(world, record.latent, include)}
    if "state" in include:
        included["state"] = world.spec.named_state(part[0].copy() for part in record.state)
    return included


def _conflict(session: Session, step: int, earliest: int) -> str:
    if step > session.step:
        return f"the dream is at step {session.step}, and cannot go back to step {step}"
    if not session.keeps_steps:
        return f"this session keeps no steps for rewinding; {A_RESET} with a rewind_window does"
    return f"the window goes back to step {earliest}, not to step {step}"
