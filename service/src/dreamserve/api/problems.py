"""Errors as RFC 9457 problem details: code, detail, request_id, and headers such as Retry-After."""

import logging
import re
from collections import Counter
from http import HTTPStatus
from math import ceil
from typing import Any

from dreamserve import logs
from dreamserve_protocol.errors import (
    InternalError,
    MethodNotAllowedError,
    ProblemError,
    UnauthorizedError,
    UnsupportedHttpError,
)
from dreamserve_protocol.pages import Problem

MEDIA_TYPE = "application/problem+json"
VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # of a request: such an id cannot forge log lines

log = logging.getLogger("dreamserve")


# Stand for the verb of a request that has none, or stands for several.
OTHER, INFERENCE = "other", "inference"


class Problems:
    """Counts and logs the errors that a server responds with; all in the event loop's thread."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()  # by verb, code and status

    def note(
        self,
        error: Exception,
        request_id: str,
        verb: str = OTHER,
        session_id: str | None = None,
        duration_s: float | None = None,
    ) -> None:
        """Count an error, and log it with what is known of its request; never its body."""
        kind = error if isinstance(error, ProblemError) else InternalError
        self.counts[verb, kind.code, kind.status] += 1
        is_fault = kind.status >= 500 and kind.retry_after_s is None
        is_fault &= not isinstance(error, UnsupportedHttpError)  # which any client can ask for
        if not is_fault and logs.leaves_out(log.name, "problem", kind.code):
            return
        fields: dict[str, Any] = {
            "request_id": request_id,
            "verb": verb,
            "session_id": session_id,
            "status": kind.status,
            "code": kind.code,
            "duration_ms": None if duration_s is None else round(1e3 * duration_s, 3),
            # The caller has it; it may quote the request.
            "detail": str(error) if is_fault or log.isEnabledFor(logging.DEBUG) else None,
        }
        log.log(
            logging.ERROR if is_fault else logging.INFO,
            "problem",
            exc_info=None if isinstance(error, ProblemError) else error,
            extra={"fields": {name: one for name, one in fields.items() if one is not None}},
        )


def problem_of(error: Exception, request_id: str) -> tuple[ProblemError, Problem]:
    """Return the error to respond with and its document."""
    if not isinstance(error, ProblemError):
        error = InternalError("an unexpected error; the server's log has it under this request_id")
    document = Problem(
        type="about:blank",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=request_id,
        retry_after_s=error.retry_after_s,
    )
    return error, document


def headers_of(error: ProblemError) -> dict[str, str]:
    """Return the headers of an error response: Retry-After, Allow and WWW-Authenticate, if any."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = error.allowed
    if isinstance(error, UnauthorizedError):  # RFC 6750
        invalid = ', error="invalid_token"' if error.key_was_sent else ""
        headers["WWW-Authenticate"] = f'Bearer realm="dreamserve"{invalid}'
    return headers
