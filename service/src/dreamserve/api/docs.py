"""The page at /docs: every verb with its fields, errors and an example that can be sent.

The page loads no other resources, so it works without internet access and behind a path prefix.
Only the buttons need JavaScript.
"""

from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

import orjson

from dreamserve.api.codec import JSON
from dreamserve.api.responses import BytesResponse, Static

_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>dreamserve</title>
<meta name="viewport" content="width=device-width"><style>
:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}}code,pre,textarea{{font:13px/1.4 ui-monospace,monospace}}
table{{border-collapse:collapse}}td,th{{text-align:left;vertical-align:top;padding:.2rem .8rem
.2rem 0;border-bottom:1px solid #8884}}pre,textarea{{background:#8881;padding:.6rem;overflow:auto;
max-height:20rem}}textarea{{width:100%;box-sizing:border-box;border:0}}summary{{cursor:pointer;
padding:.4rem 0}}summary b{{display:inline-block;min-width:4rem}}
</style><h1>dreamserve {version}</h1><p>{description}</p>
<p>For generators: <a href="openapi.json">openapi.json</a></p>{operations}
<h2>Other schemas</h2>{parts}<script>{script}</script>
"""
_SCRIPT = """for(const form of document.querySelectorAll("form"))form.onsubmit=async event=>{
event.preventDefault();const out=form.querySelector("pre");let path=form.dataset.path;
for(const input of form.querySelectorAll("input"))
path=path.replace(`{${input.name}}`,encodeURIComponent(input.value));
const body=form.querySelector("textarea");const request={method:form.dataset.method};
if(body){request.body=body.value;request.headers={"content-type":"application/json"}}
try{const response=await fetch("."+path,request);out.textContent=response.status+"\\n"+
JSON.stringify(JSON.parse(await response.text()||"null"),null,1).slice(0,20000)}
catch(error){out.textContent=error}};"""


def docs_endpoint(document: Callable[[], dict[str, Any]]) -> Static:
    """Return the application that serves the page."""
    page = cache(lambda: _page(document()))
    return Static(lambda scope: BytesResponse(page(), "text/html; charset=utf-8"))


def openapi_endpoint(document: Callable[[], dict[str, Any]]) -> Static:
    """Return the application that serves the OpenAPI document."""
    return Static(lambda scope: BytesResponse(orjson.dumps(document()), JSON))


def _page(openapi: dict[str, Any]) -> bytes:
    operations = [
        _operation(openapi, path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    page = _HTML.format(
        version=escape(openapi["info"]["version"]),
        description=escape(openapi["info"]["description"]),
        operations="".join(operations),
        parts="".join(map(_part, _parts(openapi))),
        script=_SCRIPT,
    )
    return page.encode()


def _operation(openapi: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    result = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    example = content.get("example")
    body = ""
    if content:
        body = f"<textarea rows=4>{escape(orjson.dumps(example).decode())}</textarea>"
    inputs = (
        "".join(
            f'<label>{parameter["name"]} <input name="{parameter["name"]}" value="a"></label> '
            for parameter in operation["parameters"]
            if parameter["in"] == "path"
        )
        if "parameters" in operation
        else ""
    )
    errors = ", ".join(
        escape(f"{status} {response['description']}")
        for status, response in operation["responses"].items()
        if status.startswith(("4", "5"))
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code>"
        f" {escape(operation['summary'])}</summary>"
        f"{_fields(openapi, content, 'Field')}{_fields(openapi, result, 'Result')}"
        f"<p>Errors: {errors or 'none'}</p>"
        f'<form data-path="{escape(path)}" data-method="{method.upper()}">{inputs}{body}'
        "<button>Send</button><pre></pre></form></details>"
    )


def _fields(openapi: dict[str, Any], content: dict[str, Any], title: str) -> str:
    """Return a table of a body's fields; empty if there is no body."""
    if not content:
        return ""
    name = content["schema"]["$ref"].rpartition("/")[2]
    schema = openapi["components"]["schemas"][name]
    return _table(title, schema)


def _table(title: str, schema: dict[str, Any]) -> str:
    rows = _rows(schema)
    return f"<table><tr><th>{title}<th>{escape(schema.get('description', ''))}{rows}</table>"


def _rows(schema: dict[str, Any], prefix: str = "") -> str:
    """Return a row for each field, and for each named key of a field."""
    required = schema.get("required", ())
    return "".join(
        f"<tr><td><code>{escape(prefix + name)}</code>{'' if name in required else ' (optional)'}"
        f"<td>{escape(field['description'])}{_rows(field, f'{prefix}{name}.')}"
        for name, field in schema.get("properties", {}).items()
    )


def _parts(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and schemas that no verb's table shows, which are nested in others."""
    shown = {
        content["schema"].get("$ref", "").rpartition("/")[2]
        for methods in openapi["paths"].values()
        for operation in methods.values()
        for body in (operation.get("requestBody", {}), operation["responses"].get("200", {}))
        for content in body.get("content", {}).values()
    }
    return [item for item in openapi["components"]["schemas"].items() if item[0] not in shown]


def _part(item: tuple[str, dict[str, Any]]) -> str:
    name, schema = item
    return f"<details><summary><b>{escape(name)}</b></summary>{_table('Field', schema)}</details>"
