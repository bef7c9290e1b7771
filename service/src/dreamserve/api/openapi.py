"""The OpenAPI document: each route's bodies in JSON and msgpack, its problems, and examples."""

from http import HTTPStatus
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from dreamserve import __version__
from dreamserve.api import answers, problems
from dreamserve.api.codec import JSON, MSGPACK
from dreamserve.api.examples import BODIES, DETAILS
from dreamserve.errors import CallerError, ServerError

Problems = tuple[type[CallerError] | type[ServerError], ...]

_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = (
    "Dream sessions on world models. Bodies are JSON, or the same fields as `application/msgpack`"
    " with arrays as PackedArray; the answer follows the Accept header. Errors are problem details"
    " (RFC 9457) whose `code` tells them apart."
)
_SESSION_HEADER = {
    "name": "x-session-id",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The session's id once more, for a load balancer to hash. It stands in for a"
    " body without one and must not contradict one that has it.",
}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    as_json: dict[str, Any] = {"schema": _reference(model)}
    if model in BODIES:
        as_json["example"] = BODIES[model]
    return {JSON: as_json, MSGPACK: {"schema": _reference(model)}}


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    examples = {
        code: {
            "value": {
                "type": "about:blank",
                "title": HTTPStatus(status).phrase,
                "status": status,
                "code": code,
                "detail": DETAILS[code],
                "request_id": "8f14e45fceea167a5a36dedd4bea2543",
            }
        }
        for code in codes
    }
    content = {"schema": _reference(answers.Problem), "examples": examples}
    return {"description": " or ".join(codes), "content": {problems.MEDIA_TYPE: content}}


def operation(
    answer: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    errors: Problems = (),
    more_problems: dict[int, list[str]] | None = None,
    of_session: bool = False,
) -> dict[str, Any]:
    """Return what a route's decorator needs to document it; without `answer` it is a 204."""
    by_status: dict[int, list[str]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error.code)
    by_status |= more_problems or {}
    responses: dict[int | str, dict[str, Any]] = {
        status: _problem(status, codes) for status, codes in sorted(by_status.items())
    }
    responses["default"] = _problem(500, ["internal_error"])
    if answer is not None:
        responses[200] = {"description": "Done", "content": _content(answer)}
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": _content(body)}
    if of_session:
        extra["parameters"] = [_SESSION_HEADER]
    return {
        "status_code": 204 if answer is None else 200,
        "responses": responses,
        "openapi_extra": extra,
    }


def document(routes: list[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of `routes`."""
    document = get_openapi(
        title="dreamserve", version=__version__, description=_DESCRIPTION, routes=routes
    )
    models: list[type[BaseModel]] = [*BODIES, answers.Problem, answers.Health]
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    document.setdefault("components", {})["schemas"] = schemas["$defs"]
    return document
