"""/step: advance a dream by one action."""

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.sessions.steps import AdmittedStep, admit
from dreamserve_protocol.step import StepRequest, StepResult


def step(context: Context, request: StepRequest) -> AdmittedStep | StepResult:
    """Return the step to take in the next batch, or the stored result of a step sent again.

    Raises CallerError.
    """
    return admit(context.sessions.find(request.session_id), request)
