"""Steps are numbered, so that one whose response was lost can be sent again and is taken once."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dreamserve_client.calls import Call, R
from dreamserve_protocol.batches import ResetBatchResult, StepBatchRequest, StepBatchResult
from dreamserve_protocol.branches import ForkResult, RewindRequest, RewindResult
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.sessions import DeleteRequest, SessionResult
from dreamserve_protocol.step import StepRequest, StepResult

MOST_SESSIONS = 100_000  # remembered; beyond it the one that was used longest ago is forgotten


class StepNumbers:
    """The step at which each session of this client was last seen, to number the next ones.

    An error changes nothing here, of a call as of a batch's row: a session that others have moved
    answers with conflicts until it is looked at again, and a batch keeps its numbers. What is said
    of a session that is not known here is sent without a number, and once.
    """

    def __init__(self) -> None:
        self._steps: OrderedDict[str, int] = OrderedDict()

    def number(self, call: Call[R]) -> Call[R]:
        """Return `call`, with the numbers of the steps that it leads to if they are known here."""
        return replace(call, request=self._numbered(call.request))

    def _numbered(self, request: Request[Any]) -> Request[Any]:
        steps = self._steps
        match request:
            case StepRequest(session_id=session_id, step=None) if session_id in steps:
                return replace(request, step=steps[session_id] + 1)
            case StepBatchRequest(session_ids=ids, steps=None):
                seen = [steps.get(session_id) for session_id in ids]
                following = [step + 1 for step in seen if step is not None]
                if len(following) == len(seen):
                    return replace(request, steps=following)
            case RewindRequest(session_id=session_id, steps=int(back)) if session_id in steps:
                if back <= steps[session_id]:
                    return replace(request, steps=None, to_step=steps[session_id] - back)
        return request

    def note(self, request: Request[Any], result: Any) -> None:
        """Remember where the sessions of an answered request stand."""
        match result:
            case ResetResult() | StepResult() | SessionResult() | RewindResult():
                self._see([result.session_id], [result.step])
            case ForkResult():
                self._see(result.session_ids, [result.step] * len(result.session_ids))
            case ResetBatchResult() | StepBatchResult():
                failed = {error.row for error in result.errors}
                rows = [row for row in range(len(result.session_ids)) if row not in failed]
                steps = result.steps.tolist() if isinstance(result, StepBatchResult) else None
                self._see(
                    [result.session_ids[row] for row in rows],
                    [steps[row] if steps else 0 for row in rows],
                )
        if isinstance(request, DeleteRequest):
            self._steps.pop(request.session_id, None)

    def _see(self, session_ids: Iterable[str], steps: Iterable[int]) -> None:
        for session_id, step in zip(session_ids, steps, strict=True):
            self._steps.pop(session_id, None)
            self._steps[session_id] = step
            if len(self._steps) > MOST_SESSIONS:
                self._steps.popitem(last=False)
