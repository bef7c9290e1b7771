"""Errors as RFC 9457 problem details: code, detail, request_id, and headers such as Retry-After."""

import logging
import re
from http import HTTPStatus
from math import ceil

from dreamserve_protocol.errors import InternalError, MethodNotAllowedError, ProblemError
from dreamserve_protocol.pages import Problem

MEDIA_TYPE = "application/problem+json"
VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # of a request: such an id cannot forge log lines

log = logging.getLogger("dreamserve")


def problem_of(error: Exception, request_id: str) -> tuple[ProblemError, Problem]:
    """Return the error to respond with and its document; log an unexpected error."""
    if not isinstance(error, ProblemError):
        log.error("unexpected error, request_id %s", request_id, exc_info=error)
        error = InternalError("an unexpected error; the server's log has it under this request_id")
    document = Problem(
        type="about:blank",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=request_id,
    )
    return error, document


def headers_of(error: ProblemError) -> dict[str, str]:
    """Return the headers of an error response: Retry-After and Allow, if any."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = error.allowed
    return headers
