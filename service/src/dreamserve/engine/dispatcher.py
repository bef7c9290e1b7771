"""Requests to their handlers: steps of one world become one batch, long work becomes jobs."""

from collections.abc import Callable, Sequence
from types import GeneratorType
from typing import Any

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.branches import fork, rewind
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
from dreamserve.engine.sessions.steps import AdmittedStep, take_steps
from dreamserve.engine.work import Job, Outcome, failure
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.verbs import BY_NAME

# A handler answers with its result; with a step to be taken in the batch; with what is to be called
# after the batch's steps; or with work of some length, a generator (`engine.work`).
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
        worlds,
        world,
    )
}

AfterSteps = Callable[[], Any]


def respond(context: Context, requests: Sequence[Request[Any]]) -> list[Outcome]:
    """Return for each of these requests, about different sessions, its outcome.

    That is a result, an error, or a job in progress, which has looked at its session before its
    first yield, and writes at its very end.
    """
    context.sessions.refresh_now()
    outcomes: list[Outcome] = [None] * len(requests)
    batches: dict[str, list[tuple[int, AdmittedStep]]] = {}
    after: list[tuple[int, AfterSteps]] = []
    for i, request in enumerate(requests):
        begun = _begin(context, request)
        if isinstance(begun, AdmittedStep):
            batches.setdefault(begun.session.world.name, []).append((i, begun))
        elif callable(begun):
            after.append((i, begun))
        else:
            outcomes[i] = begun
    for batch in batches.values():
        for (i, _), outcome in zip(batch, _take(batch), strict=True):
            outcomes[i] = outcome
    for i, make in after:
        outcomes[i] = _run(make)
    return outcomes


def _begin(context: Context, request: Request[Any]) -> Any:
    try:
        begun = HANDLERS[type(request)](context, request)
    except Exception as error:
        return failure(error)
    return Job(begun).resume() if isinstance(begun, GeneratorType) else begun


def _take(batch: Sequence[tuple[int, AdmittedStep]]) -> Sequence[StepResult | ProblemError]:
    try:
        return take_steps([step for _, step in batch])
    except Exception as error:
        return [failure(error)] * len(batch)


def _run(make: AfterSteps) -> Outcome:
    try:
        outcome: Outcome = make()
    except Exception as error:
        return failure(error)
    return outcome
