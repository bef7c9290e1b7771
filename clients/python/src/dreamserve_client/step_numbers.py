"""Steps are numbered, so that one whose response was lost can be sent again and is taken once."""

from collections import OrderedDict
from collections.abc import Sequence
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
    """The last seen step of each session of this client, to number the next steps.

    Errors of calls and of batch rows change nothing. So a session that another client has stepped
    gives conflicts until its state is requested again, and a retried batch keeps its numbers. A
    rewind by steps counts from the last seen step. Requests for an unknown session have no number
    and are sent once.
    """

    def __init__(self) -> None:
        self._steps: OrderedDict[str, int] = OrderedDict()

    def number(self, call: Call[R]) -> Call[R]:
        """Return `call` with step numbers, if the sessions' steps are known."""
        return replace(call, request=self._numbered(call.request))

    def _numbered(self, request: Request[Any]) -> Request[Any]:
        match request:
            case StepRequest(step=None):
                if (seen := self._steps.get(request.session_id)) is not None:
                    return replace(request, step=seen + 1)
            case StepBatchRequest(steps=None):
                rows = [self._steps.get(session_id) for session_id in request.session_ids]
                steps = [seen + 1 for seen in rows if seen is not None]
                if len(steps) == len(rows):
                    return replace(request, steps=steps)
            case RewindRequest(steps=int(back)) if not isinstance(back, bool):
                if 0 <= back <= (seen := self._steps.get(request.session_id, -1)):
                    return replace(request, steps=None, to_step=seen - back)
        return request

    def note(self, request: Request[Any], result: Any) -> None:
        """Remember the steps of the sessions in a result."""
        match result:
            case ResetResult() | StepResult() | SessionResult() | RewindResult():
                self._see([(result.session_id, result.step)])
            case ForkResult():
                self._see([(session_id, result.step) for session_id in result.session_ids])
            case ResetBatchResult():
                self._see_rows(result, [0] * len(result.session_ids))
            case StepBatchResult():
                self._see_rows(result, result.steps.tolist())
        if isinstance(request, DeleteRequest):
            self._steps.pop(request.session_id, None)

    def _see_rows(self, batch: ResetBatchResult | StepBatchResult, steps: list[int]) -> None:
        rows = zip(batch.session_ids, steps, strict=True)
        if batch.errors:
            failed = {error.row for error in batch.errors}
            self._see([pair for row, pair in enumerate(rows) if row not in failed])
        else:
            self._see(list(rows))

    def _see(self, sessions: Sequence[tuple[str, int]]) -> None:
        self._steps.update(sessions)
        for session_id, _ in sessions:
            self._steps.move_to_end(session_id)
        while len(self._steps) > MOST_SESSIONS:
            self._steps.popitem(last=False)
