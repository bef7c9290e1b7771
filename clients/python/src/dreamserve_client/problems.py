"""From a response of 4xx or 5xx to the error that is raised for it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from dreamserve_client.codec import JSON, PROBLEM_MEDIA_TYPE, UNREADABLE
from dreamserve_protocol.errors import ProblemError, problem_of


def problem_in(
    origin: str, status: int, headers: Mapping[str, str], body: bytes | None
) -> ProblemError:
    """Return the error that an HTTP response stands for, a proxy's own page included."""
    fields: Mapping[str, Any] = {}
    if headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE):
        try:
            fields = JSON.decode(body or b"")
        except UNREADABLE:
            fields = {}
    error = problem_from(origin, status, fields)
    error.request_id = error.request_id or headers.get("x-request-id")
    if error.retry_after_s is None:
        error.retry_after_s = _retry_after_s(headers.get("retry-after"))
    return error


def problem_from(origin: str, status: int, fields: Mapping[str, Any]) -> ProblemError:
    """Return the error for the fields of a problem, as far as they are there."""
    code, detail = fields.get("code") or f"http_{status}", fields.get("detail") or origin
    error = problem_of(str(code), status, str(detail))
    error.request_id = fields.get("request_id")
    wait_s = fields.get("retry_after_s")
    error.retry_after_s = wait_s if isinstance(wait_s, int | float) else None
    return error


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
