"""What each verb does, a page a verb. Not when it runs: that is the scheduler's."""

from collections.abc import Callable
from typing import Any

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.branches import fork, rewind
from dreamserve.engine.handlers.plan import plan
from dreamserve.engine.handlers.reset import reset
from dreamserve.engine.handlers.reset_batch import reset_batch
from dreamserve.engine.handlers.rollout import rollout
from dreamserve.engine.handlers.sample import sample
from dreamserve.engine.handlers.sessions import delete, restore, session, snapshot
from dreamserve.engine.handlers.step import step
from dreamserve.engine.handlers.step_batch import step_batch
from dreamserve.engine.handlers.worlds import world, worlds
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
        worlds,
        world,
    )
}
