"""The page at /docs: every verb with its fields, errors and an example that can be sent.

The page loads no other resources, so it works without internet access and behind a path prefix.
Only the buttons need JavaScript.
"""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html import escape
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from dreamserve.api.codec import JSON
from dreamserve.api.responses import BytesResponse, Static, page_headers

_IN_PATH = {"session_id": "a", "name": ""}  # fields of the forms: the session is the examples'
_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d8dce6, #3a3f4b);
  --faint: light-dark(#f4f6fa, #20242d); --muted: light-dark(#5a6172, #a3abbb);
  --accent: light-dark(#3f51b5, #9fa8ff) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#fff, #14161c); color: light-dark(#1d2333, #e4e7ee) }
h1 { margin-bottom: 0 } a { color: var(--accent) }
code, pre, textarea { font: 13px/1.5 ui-monospace, monospace }
p code, td:last-child code, th code { background: var(--faint); padding: 0 .25rem;
  border-radius: 3px }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: 0 .8rem }
summary { cursor: pointer; padding: .5rem 0; display: flex; flex-wrap: wrap; gap: .2rem .8rem;
  align-items: baseline }
summary::before { content: "\\25b8"; width: .8rem }
details[open] summary::before { content: "\\25be" }
summary b { min-width: 4rem; color: var(--accent) } summary span { color: var(--muted) }
details[open] summary { border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; width: 100%; table-layout: fixed; margin: .8rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-top: 1px solid var(--line); overflow-wrap: anywhere }
tr:first-child > * { border-top: 0 } th:first-child { width: 15rem } small { color: var(--muted) }
pre, textarea { background: var(--faint); color: inherit; border: 1px solid var(--line);
  border-radius: 4px; padding: .6rem; overflow: auto; max-height: 20rem }
pre:empty { display: none } textarea { width: 100%; box-sizing: border-box }
form { margin: .8rem 0 } input { font: inherit; margin: 0 .6rem .4rem 0 }
button { font: inherit; padding: .2rem 1rem; cursor: pointer }
@media (max-width: 40rem) { th:first-child { width: 8rem } }
"""
_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>dreamserve</title>
<meta name="viewport" content="width=device-width"><style>{style}</style>
<h1>dreamserve {version}</h1><p>{description}</p>
<p>For generators: <a href="openapi.json">openapi.json</a></p>
<p><label>API key, if the server has keys: <input id="key" type="password" autocomplete="off">
</label></p>{operations}
<h2>Other schemas</h2>{parts}<script>{script}</script>
"""
_SCRIPT = """const withKey=()=>{const key=document.querySelector("#key").value;
return key?{authorization:"Bearer "+key}:{}};
for(const input of document.querySelectorAll("input[name=name]"))
input.closest("details").ontoggle=async()=>{if(input.value)return;
try{const response=await fetch("./worlds",{headers:withKey()});
if(response.ok)input.value||=(await response.json()).worlds[0].name}catch{}};
for(const form of document.querySelectorAll("form"))form.onsubmit=async event=>{
event.preventDefault();const out=form.querySelector("pre");let path=form.dataset.path;
for(const input of form.querySelectorAll("input"))
path=path.replace(`{${input.name}}`,encodeURIComponent(input.value));
const body=form.querySelector("textarea");const request={method:form.dataset.method};
request.headers=withKey();
if(body){request.body=body.value;request.headers["content-type"]="application/json"}
try{const response=await fetch("."+path,request);out.textContent=response.status+"\\n"+
JSON.stringify(JSON.parse(await response.text()||"null"),null,1).slice(0,20000)}
catch(error){out.textContent=error}};"""


def docs_endpoint(document: Callable[[], dict[str, Any]]) -> ASGIApp:
    """Return the application that serves the page.

    It tells nothing of the loaded worlds, as nobody needs a key for it; its script asks for one's
    name where a form has a field for that.
    """
    headers = page_headers(
        script_src=_hash_of(_SCRIPT), style_src=_hash_of(_STYLE), connect_src="'self'"
    )
    html = "text/html; charset=utf-8"
    return _MadeOnce(lambda: BytesResponse(_page(document()), html, headers=headers))


def openapi_endpoint(document: Callable[[], dict[str, Any]]) -> ASGIApp:
    """Return the application that serves the OpenAPI document."""
    return _MadeOnce(lambda: BytesResponse(orjson.dumps(document()), JSON))


class _MadeOnce:
    """An ASGI application whose one response is made, in a thread, when it is first asked for.

    Making it takes as long as thousands of steps, which would wait for it in the event loop.
    """

    def __init__(self, make: Callable[[], BytesResponse]) -> None:
        self._make = make
        self._made: Static | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ProblemError."""
        async with self._making:
            if self._made is None:
                response = await asyncio.to_thread(self._make)
                self._made = Static(lambda _: response)
        await self._made(scope, receive, send)


def _hash_of(inline: str) -> str:
    """Return the source of a Content-Security-Policy that allows this inline text only."""
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"


def _page(openapi: dict[str, Any]) -> bytes:
    operations = [
        _operation(openapi, path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    page = _HTML.format(
        version=escape(openapi["info"]["version"]),
        style=_STYLE,
        description=_text(openapi["info"]["description"]),
        operations="".join(operations),
        parts="".join(map(_part, _parts(openapi))),
        script=_SCRIPT,
    )
    return page.encode()


def _operation(openapi: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    result = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    body = ""
    if content:
        body = f"<textarea rows=3>{escape(json.dumps(content.get('example')))}</textarea>"
    inputs = "".join(
        f'<label>{name} <input name="{name}" value="{_IN_PATH[name]}"></label> '
        for name in re.findall(r"{(\w+)}", path)
    )
    errors = ", ".join(
        f"{status} {escape(response['description'])}"
        for status, response in operation["responses"].items()
        if status.startswith(("4", "5"))
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code>"
        f"<span>{_text(operation['summary'])}</span></summary>"
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
    return f"<table><tr><th>{title}<th>{_text(schema.get('description', ''))}{rows}</table>"


def _rows(schema: dict[str, Any], prefix: str = "") -> str:
    """Return a row for each field, and for each named key of a field."""
    required = schema.get("required", ())
    return "".join(
        f"<tr><td><code>{escape(prefix + name)}</code>"
        f"{'' if name in required else ' <small>optional</small>'}"
        f"<td>{_text(field['description'])}{_rows(field, f'{prefix}{name}.')}"
        for name, field in schema.get("properties", {}).items()
    )


def _text(description: str) -> str:
    """Return a description as HTML; what stands in backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(description))


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
