"""What both clients share: a call becomes a request, an outcome an answer, an error or a wait.

The clients add the I/O, which is one line each.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, TypeVar

import httpx

from dreamserve_client import codec
from dreamserve_client.calls import Call
from dreamserve_client.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DreamserveError,
    ProtocolError,
    error_class,
)
from dreamserve_client.retries import RetryPolicy
from dreamserve_client.types import Fork, Reset, ResetBatch, Rewind, SessionInfo, Step, StepBatch

T = TypeVar("T")
USER_AGENT = f"dreamserve-client/{version('dreamserve-client')}"


class StepNumbers:
    """The step at which each session of this client was last seen, to number the next ones.

    An error changes nothing here, of a call as of a batch's row: a session that others have moved
    answers with conflicts until it is looked at again, and a batch keeps its numbers.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def number(self, call: Call[T]) -> Call[T]:
        """Return `call`, with the numbers of its steps if it takes some and all are known here."""
        if call.idempotent or call.fields is None:
            return call
        if call.session_id is not None:
            seen = self._seen.get(call.session_id)
            return call if seen is None else call.numbered(step=seen + 1)
        ids: list[str] = call.fields["session_ids"]
        steps = [self._seen[session_id] + 1 for session_id in ids if session_id in self._seen]
        return call.numbered(steps=steps) if len(steps) == len(ids) else call

    def note(self, call: Call[T], answer: T) -> None:
        """Remember where the session of an answered call stands; forget it when it is over."""
        match answer:
            case Reset() | Step(terminated=False) | SessionInfo(terminated=False):
                self._seen[answer.session_id] = answer.step
            case Rewind(terminated=False):
                self._seen[answer.session_id] = answer.step
            case Fork(terminated=False):
                self._seen.update(dict.fromkeys(answer.session_ids, answer.step))
            case Step() | SessionInfo() | Rewind():
                self._seen.pop(answer.session_id, None)
            case ResetBatch():
                for row, session_id in enumerate(answer.session_ids):
                    if row not in answer.errors:
                        self._seen[session_id] = 0
            case StepBatch():
                self._note_steps(answer)
            case None:
                self._seen.pop(call.session_id or "", None)

    def _note_steps(self, batch: StepBatch) -> None:
        rows = zip(batch.session_ids, batch.steps.tolist(), batch.terminated.tolist(), strict=True)
        for row, (session_id, step, terminated) in enumerate(rows):
            if row in batch.errors:
                continue
            if terminated:
                self._seen.pop(session_id, None)
            else:
                self._seen[session_id] = step


class Exchange:
    """Requests to one server, answers from it, and when to ask again."""

    def __init__(self, base_url: str, timeout_s: float, max_retries: int) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must start with http:// or https://, it is {base_url!r}")
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._policy = RetryPolicy(max_retries)
        self.numbers = StepNumbers()

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """Return the request that `call` stands for."""
        headers = {"accept": codec.MEDIA_TYPE, "user-agent": USER_AGENT}
        if call.session_id is not None:
            headers["x-session-id"] = call.session_id  # what load balancers hash
        content = None
        if call.fields is not None:
            headers["content-type"] = codec.MEDIA_TYPE
            content = codec.encode(dict(call.fields))
        return http.build_request(
            call.method,
            self.base_url + call.path,
            content=content,
            headers=headers,
            timeout=self._timeout_s,
        )

    def answer(self, call: Call[T], response: httpx.Response) -> T:
        """Return what the server answered.

        Raises APIStatusError for a problem and ProtocolError for what dreamserve never answers.
        """
        if response.is_error:
            raise status_error(response)
        try:
            fields = codec.decode(response.content) if response.content else {}
            # The errors of a batch's rows carry it.
            request_id = response.headers.get("x-request-id")
            answer = call.read({**fields, "request_id": request_id})
        except (ValueError, KeyError, TypeError) as error:
            said = f"{call.method} {response.url} answered HTTP {response.status_code}"
            what = f"without {error}" if isinstance(error, KeyError) else f"unreadably: {error}"
            raise ProtocolError(f"{said} {what}; is base_url a dreamserve server?") from error
        self.numbers.note(call, answer)
        return answer

    def wait_s(self, call: Call[Any], error: Exception, attempt: int) -> float:
        """Return how long to wait before `call` is sent again; raise the error when it is final."""
        final = self._named(error)
        wait_s = self._policy.wait_s(final, attempt, call.idempotent)
        if wait_s is None:
            raise final from (None if final is error else error)
        return wait_s

    def _named(self, error: Exception) -> DreamserveError:
        if isinstance(error, DreamserveError):
            return error
        if isinstance(error, httpx.TimeoutException):
            return APITimeoutError(f"{self.base_url} gave no answer within {self._timeout_s} s")
        return APIConnectionError(
            f"no answer from {self.base_url}: {error or type(error).__name__}"
        )


def status_error(response: httpx.Response) -> APIStatusError:
    """Return the error that a 4xx or 5xx answer stands for, a proxy's own answer included."""
    problem = _problem(response)
    status = response.status_code
    code = problem.get("code") or f"http_{status}"
    return error_class(code, status)(
        problem.get("detail") or f"{response.url} answered {status} {response.reason_phrase}",
        code=code,
        status=status,
        request_id=problem.get("request_id") or response.headers.get("x-request-id"),
        retry_after_s=_retry_after_s(response.headers.get("retry-after")),
    )


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    if not response.headers.get("content-type", "").startswith(codec.PROBLEM_MEDIA_TYPE):
        return {}
    try:
        problem = codec.decode(response.content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _retry_after_s(header: str | None) -> float | None:
    """Read Retry-After, seconds or a date; None when it is absent or neither."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
