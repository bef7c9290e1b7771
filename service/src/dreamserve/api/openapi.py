"""The OpenAPI document, generated from the protocol: bodies, results, problems, examples."""

from collections.abc import Mapping
from http import HTTPStatus
from inspect import getdoc
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from dreamserve import __version__
from dreamserve.api.codec import JSON, MSGPACK
from dreamserve.api.problems import MEDIA_TYPE
from dreamserve.validation import validated
from dreamserve_protocol.errors import CallerError, InternalError, ProblemError
from dreamserve_protocol.pages import PAGES, Page, Problem
from dreamserve_protocol.verbs import VERBS, Verb

_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = (
    "Sessions on world models. A session holds one dream, a trajectory that a world model imagines."
    " Bodies are JSON, or the same fields as `application/msgpack` with arrays as"
    ' `{"dtype", "shape", "data"}`; Accept selects the format of the response. A frame may be a PNG'
    ' file, `{"png": file}`, binary in msgpack and base64 in JSON. Errors are problem'
    " details (RFC 9457), identified by `code`. Every verb can also be sent over a WebSocket,"
    " `/stream`."
)


def _header(name: str, kind: dict[str, Any], description: str) -> dict[str, Any]:
    place = {"name": name, "in": "header", "required": False}
    return {**place, "schema": kind, "description": description}


_SESSION_HEADER = _header(
    "x-session-id",
    {"type": "string"},
    "The session's id, for a load balancer to hash. It replaces a missing `session_id` and must"
    " equal a present one.",
)
_ROUTE_HEADER = _header(
    "x-session-id",
    {"type": "string"},
    "The route of the rows' ids, which is what precedes their first `--`, for a load balancer to"
    " hash.",
)
_TIMEOUT_HEADER = _header(
    "x-request-timeout",
    {"type": "number", "exclusiveMinimum": 0},
    "Seconds after which the caller gives up: work that is late is dropped.",
)
_SECURITY = {
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, if the server has keys.",
    }
}


class Example(NamedTuple):
    """A request's body and its result, as JSON values; None if it has none."""

    body: Any
    result: Any


def document(examples: Mapping[str, Example]) -> dict[str, Any]:
    """Return the document, with every verb, its example, and every page."""
    paths: dict[str, dict[str, Any]] = {}
    for verb in VERBS:
        paths.setdefault(verb.path, {})[verb.method.lower()] = _of_verb(verb, examples[verb.name])
    for page in PAGES:
        paths[page.path] = {"get": _of_page(page)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dreamserve", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
        "security": [{}, {name: [] for name in _SECURITY}],
    }


def _of_verb(verb: Verb, example: Example) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": verb.name,
        "summary": verb.summary,
        "description": getdoc(verb.request),
        "tags": [verb.path.strip("/").partition("/")[0]],
        "parameters": _parameters(verb),
        "responses": _responses(verb.result, verb.all_errors, example.result),
    }
    if verb.has_body:
        schema = _reference(_body_of(verb))
        operation["requestBody"] = {
            "required": _needs_body(verb),
            "content": _content(schema, example.body),
        }
    return operation


def _of_page(page: Page) -> dict[str, Any]:
    return {
        "operationId": page.path.strip("/") or "index",
        "summary": page.summary,
        "description": getdoc(page.result),
        "tags": ["server"],
        "responses": _responses(page.result, page.errors, None),
    }


def _parameters(verb: Verb) -> list[dict[str, Any]]:
    parameters = [*_in_url(verb, "path"), *_in_url(verb, "query")]
    if verb.of_session:
        parameters.append(_SESSION_HEADER)
    elif verb.of_rows:
        parameters.append(_ROUTE_HEADER)
    return [*parameters, _TIMEOUT_HEADER]


def _in_url(verb: Verb, place: Literal["path", "query"]) -> list[dict[str, Any]]:
    """Return the parameters in the path or the query string, each with its schema."""
    names = verb.path_fields if place == "path" else verb.query_fields
    if not names:
        return []
    schema = TypeAdapter(verb.request).json_schema()
    _no_null_defaults(schema)
    fields = {name: schema["properties"][name] for name in names}
    return [
        {
            "name": name,
            "in": place,
            "required": place == "path",
            "description": field.pop("description"),
            "schema": field,
        }
        for name, field in fields.items()
    ]


def _needs_body(verb: Verb) -> bool:
    """Return whether a request without a body is invalid."""
    try:
        validated(verb.request, dict.fromkeys(verb.path_fields, "a"))
    except CallerError:
        return True
    return False


def _responses(result: Any, errors: tuple[type[ProblemError], ...], example: Any) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if result is None:
        responses["204"] = {"description": "Success"}
    else:
        content = _content(_reference(result.__name__), example)
        responses["200"] = {"description": "Success", "content": content}
    by_status: dict[int, list[type[ProblemError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    for status, kinds in sorted(by_status.items()):
        responses[str(status)] = _problem(kinds)
    responses["default"] = _problem([InternalError])
    return responses


def _content(schema: dict[str, str], example: Any) -> dict[str, Any]:
    """Return a body's media types; both have one schema, so generated clients have one type."""
    examples = {} if example is None else {"example": example}
    return {JSON: {"schema": schema, **examples}, MSGPACK: {"schema": schema}}


def _problem(kinds: list[type[ProblemError]]) -> dict[str, Any]:
    examples = {
        kind.code: {
            "summary": kind.__doc__,
            "value": {
                "type": "about:blank",
                "title": HTTPStatus(kind.status).phrase,
                "status": kind.status,
                "code": kind.code,
                "detail": kind.__doc__,
                "request_id": "8f14e45fceea167a5a36dedd4bea2543",
            },
        }
        for kind in kinds
    }
    content = {"schema": _reference("Problem"), "examples": examples}
    return {
        "description": " or ".join(kind.code for kind in kinds),
        "content": {MEDIA_TYPE: content},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=name)}


def _body_of(verb: Verb) -> str:
    """Return the name of the schema of a verb's body."""
    if verb.body is not None:
        name: str = verb.request.__dataclass_fields__[verb.body].type.__origin__.__name__
        return name
    return verb.request.__name__


def _schemas() -> dict[str, Any]:
    """Return the schemas of all messages by name; request bodies have no path fields."""
    verbs = [verb for verb in VERBS if verb.has_body and verb.body is None]
    requests = [verb.request for verb in verbs]
    results = [*(verb.result for verb in VERBS if verb.result), *(page.result for page in PAGES)]
    kinds = dict.fromkeys([*requests, *results, Problem])
    inputs: list[Any] = [(kind, "validation", TypeAdapter(kind)) for kind in kinds]
    _, generated = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
    schemas: dict[str, Any] = generated["$defs"]
    for verb in verbs:
        _drop(schemas[verb.request.__name__], verb.path_fields)
    for kind in (*results, Problem):
        _absent_not_null(schemas[kind.__name__])
    for schema in schemas.values():
        _no_null_defaults(schema)
    return schemas


def _drop(schema: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        schema["properties"].pop(name)
        schema["required"] = [field for field in schema.get("required", ()) if field != name]


def _absent_not_null(schema: dict[str, Any]) -> None:
    """Declare that an optional field of a result is left out rather than sent as null."""
    for field in schema.get("properties", {}).values():
        if field.get("default", 0) is None:
            del field["default"]
            field["anyOf"] = [form for form in field["anyOf"] if form != {"type": "null"}]


def _no_null_defaults(schema: dict[str, Any]) -> None:
    """Drop null defaults, which make generators declare optional fields as required ones."""
    for field in schema.get("properties", {}).values():
        if field.get("default", 0) is None:
            del field["default"]
