"""From a response of 4xx or 5xx to the error that is raised for it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from dreamserve_client.codec import JSON, PROBLEM_MEDIA_TYPE
from dreamserve_protocol.errors import ProblemError, problem_of


def problem_in(response: httpx.Response) -> ProblemError:
    """Return the error that a 4xx or 5xx response stands for, a proxy's own page included."""
    fields, status = _fields(response), response.status_code
    code = fields.get("code") or f"http_{status}"
    detail = fields.get("detail") or f"{response.url} answered {status} {response.reason_phrase}"
    error = problem_of(str(code), status, str(detail))
    error.request_id = fields.get("request_id") or response.headers.get("x-request-id")
    error.retry_after_s = _retry_after_s(response.headers.get("retry-after"))
    return error


def _fields(response: httpx.Response) -> Mapping[str, Any]:
    if not response.headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE):
        return {}
    try:
        return JSON.decode(response.content)
    except (ValueError, TypeError):
        return {}


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
