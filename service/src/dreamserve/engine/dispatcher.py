"""Dispatches requests to handlers: steps of one world form one batch, long work becomes jobs."""

from collections.abc import Callable, Sequence
from types import GeneratorType
from typing import Any, Protocol

from dreamserve.engine.handlers.base import Context, Contexts
from dreamserve.engine.handlers.branches import fork, rewind
from dreamserve.engine.handlers.listing import (
    admin_delete,
    admin_sessions,
    delete_idle,
    sessions,
)
from dreamserve.engine.handlers.plan import plan
from dreamserve.engine.handlers.reset import reset
from dreamserve.engine.handlers.reset_batch import reset_batch
from dreamserve.engine.handlers.rollout import rollout
from dreamserve.engine.handlers.sample import sample
from dreamserve.engine.handlers.sessions import (
    delete,
    delete_batch,
    restore,
    session,
    snapshot,
)
from dreamserve.engine.handlers.step import step
from dreamserve.engine.handlers.step_batch import step_batch
from dreamserve.engine.handlers.worlds import world, worlds
from dreamserve.engine.sessions.slab import Slab
from dreamserve.engine.sessions.steps import AdmittedStep, take_steps
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.engine.work import Job, Outcome, failure
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.verbs import BY_NAME

# A handler returns its result; or a step to compute in the batch; or a function to call after the
# batch's steps; or long work, a generator (`engine.work`).
Handler = Callable[[Context, Any], Any]

HANDLERS: dict[type, Handler] = {
    BY_NAME[handler.__name__].request: handler
    for handler in (
        step,
        reset,
        step_batch,
        reset_batch,
        sample,
        rollout,
        plan,
        fork,
        rewind,
        snapshot,
        restore,
        session,
        delete,
        delete_batch,
        sessions,
        delete_idle,
        worlds,
        world,
    )
}
# Handlers of administrators' requests get the table of all owners' sessions.
ADMIN_HANDLERS: dict[type, Callable[[SessionTable, Any], Any]] = {
    BY_NAME[handler.__name__].request: handler for handler in (admin_sessions, admin_delete)
}

AfterSteps = Callable[[], Any]


class OwnedRequest(Protocol):
    """A request and its owner, "" without authentication."""

    @property
    def request(self) -> Request[Any]:
        """The request."""
        ...

    @property
    def owner(self) -> str:
        """Its owner."""
        ...


def respond(contexts: Contexts, requests: Sequence[OwnedRequest]) -> list[Outcome]:
    """Return the outcome of each of these requests, which concern different sessions.

    An outcome is a result, an error, or a job in progress. A job reads its session before its first
    yield, and writes to it after its last; one of many sessions, such as a batch, may change any of
    them at once. So jobs begin after the steps, as forks are made after them, in order of arrival:
    nothing else changes a session, or gives its slot away, between its admission and its step.
    """
    outcomes: list[Outcome] = [None] * len(requests)
    batches: dict[Slab, list[tuple[int, AdmittedStep]]] = {}
    after: list[tuple[int, AfterSteps]] = []
    common = contexts[""]
    for i, owned in enumerate(requests):
        context = contexts[owned.owner] if owned.owner else common
        handled = _handle(context, contexts.table, owned.request)
        if isinstance(handled, AdmittedStep):
            batches.setdefault(handled.session.slab, []).append((i, handled))
        elif isinstance(handled, GeneratorType):
            after.append((i, Job(handled).resume))
        elif callable(handled):
            after.append((i, handled))
        else:
            outcomes[i] = handled
    for batch in batches.values():
        for (i, _), outcome in zip(batch, _step(batch), strict=True):
            outcomes[i] = outcome
    for i, finish in after:
        outcomes[i] = _run(finish)
    return outcomes


def _handle(context: Context, table: SessionTable, request: Request[Any]) -> Any:
    try:
        if (handler := HANDLERS.get(type(request))) is not None:
            return handler(context, request)
        return ADMIN_HANDLERS[type(request)](table, request)
    except Exception as error:
        return failure(error)


def _step(batch: Sequence[tuple[int, AdmittedStep]]) -> Sequence[StepResult | ProblemError]:
    try:
        return take_steps([step for _, step in batch])
    except Exception as error:
        return [failure(error)] * len(batch)


def _run(finish: AfterSteps) -> Outcome:
    try:
        outcome: Outcome = finish()
    except Exception as error:
        return failure(error)
    return outcome
