"""Every error as RFC 9457 problem details: code, detail, request_id, and Retry-After where due."""

import logging
from http import HTTPStatus
from math import ceil
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from dreamserve.errors import (
    CallerError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    ServerError,
)

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; it tells the log why there is no answer
HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 415: "unsupported_media_type"}
_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 80

log = logging.getLogger("dreamserve")


def problem(
    status: int, code: str, detail: str, request_id: str, headers: dict[str, str] | None = None
) -> Response:
    """Return the response that says so."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def unexpected(request_id: str) -> Response:
    """Return what is said of an error that nobody foresaw; the log has the rest."""
    detail = f"an unexpected error; the server's log has it under request_id {request_id}"
    return problem(500, "internal_error", detail, request_id)


def from_validation(error: ValidationError) -> CallerError:
    """Return the error that tells what was wrong, where, and what would be right."""
    errors = error.errors(include_url=False, include_input=False)
    said = [_one_line(e) for e in errors[:_SHOWN_ERRORS]]
    if len(errors) > len(said):
        said.append(f"and {len(errors) - len(said)} more")
    detail = "; ".join(said)
    if any(e["type"] in ("finite_number", "not_finite") for e in errors):
        return NotFiniteInputError(detail)
    if all(e["type"] == "array" and e["loc"][-1] in ("action", "actions") for e in errors):
        return InvalidActionError(detail)
    return InvalidRequestError(detail)


def _one_line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])[:_SHOWN_CHARACTERS]
    message = "is not a known field" if error["type"] == "extra_forbidden" else error["msg"]
    return f"{where}: {message}" if where else str(message)


def response_to(error: Exception, scope: Scope) -> Response | None:
    """Return what is answered to an error that was foreseen, None for any other."""
    request_id: str = scope["state"]["request_id"]
    if isinstance(error, CallerError | ServerError):
        headers = {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(ceil(error.retry_after_s))
        return problem(error.status, error.code, error.detail, request_id, headers)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    if isinstance(error, HTTPException):
        code = HTTP_CODES.get(error.status_code, "invalid_request")
        detail = _http_detail(error, scope)
        return problem(error.status_code, code, detail, request_id, dict(error.headers or {}))
    return None


def _http_detail(error: HTTPException, scope: Scope) -> str:
    if error.status_code == 404:
        return f"no such path: {scope['path'][:_SHOWN_CHARACTERS]}; GET /docs lists them"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        return f"{scope['method']} is not answered here; {allowed} is"
    return str(error.detail)


async def _on_error(request: Request, error: Exception) -> Response:
    response = response_to(error, request.scope)
    assert response is not None  # by what it is registered for
    return response


def install(app: FastAPI) -> None:
    """Make `app` answer every foreseen error as a problem."""
    for kind in (CallerError, ServerError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, _on_error)
