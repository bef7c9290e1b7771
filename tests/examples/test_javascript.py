"""The JavaScript examples and those of docs/javascript.md, in chromium and in Node."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import playwright
import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.sync.server import ServerConnection, serve

from dreamserve_protocol.verbs import VERBS

ROOT = Path(__file__).parents[2]
JAVASCRIPT = ROOT / "examples" / "javascript"
PRINTED_URL, PRINTED_STREAM = "http://127.0.0.1:8000", "ws://127.0.0.1:8000"
NODE = Path(playwright.__file__).parent / "driver" / "node"  # playwright brings its own
PATIENCE_MS = 30_000  # for a busy machine
PIXELS = "document.querySelector('canvas').toDataURL()"

expect.set_options(timeout=PATIENCE_MS)


# A fetch that prints the requests that are to be sent, instead of sending them.
FETCH = """
globalThis.fetch = async (url, { method, body }) => {
  console.log(JSON.stringify([method, url, body ? JSON.parse(body) : null]));
  return new Response("{}");
};
"""
# Calls `send` and prints what comes of it: see `scripted`.
SENDS = """
const told = (sent) => sent.then(() => "a result", ({ message }) => message);
const both = (one, other) => Promise.all([told(send(one, {})), told(send(other, {}))]);
console.log(await told(send("worlds", {})));
console.log((await both("hold", "garble")).join());
console.log(await told(send("worlds", {})));
console.log((await both("hold", "end")).join());
console.log(await told(send("worlds", {})));
"""


def scripted(connection: ServerConnection) -> None:
    """Answer requests, but not `hold`; `garble` could not be read, and `end` closes the socket."""
    for message in connection:
        request = json.loads(message)
        if request["verb"] == "end":
            return
        if request["verb"] == "garble":
            problem = {"code": "invalid_request", "detail": "no JSON"}
            connection.send(json.dumps({"id": None, "status": 422, "body": problem}))
        elif request["verb"] != "hold":
            connection.send(json.dumps({"id": request["id"], "status": 200, "body": {}}))


@pytest.fixture
def socket() -> Iterator[str]:
    """Return the URL of a server of `scripted` sockets."""
    with serve(scripted, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(PATIENCE_MS / 1e3)


def block(language: str) -> str:
    """Return the page's only block in a language."""
    text = (ROOT / "docs" / "javascript.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return an empty page, whose scripts must not have failed at the end."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors


def assert_plays(page: Page) -> None:
    """Assert that the dream advances and that its picture changes."""
    page.wait_for_function("/^step [1-9]/.test(document.getElementById('status').textContent)")
    before = page.evaluate(PIXELS)
    step = int(page.inner_text("#status").split()[1])
    page.wait_for_function(
        "step => parseInt(document.getElementById('status').textContent.split(' ')[1]) > step + 3",
        arg=step,
    )
    assert page.evaluate(PIXELS) != before


@pytest.mark.parametrize("transport", ["", "&stream"])
def test_a_page_of_another_origin_plays_a_dream(
    page: Page, url: str, pages: tuple[Path, int], transport: str
) -> None:
    page.goto(f"http://localhost:{pages[1]}/?server={url}{transport}")
    assert_plays(page)
    page.keyboard.down("ArrowRight")
    assert_plays(page)


@pytest.mark.parametrize("transport", ["", "&stream"])
def test_a_page_of_an_origin_that_is_not_allowed_says_which_one_to_allow(
    page: Page, url: str, pages: tuple[Path, int], transport: str
) -> None:
    origin = f"http://127.0.0.1:{pages[1]}"
    page.goto(f"{origin}/?server={url}{transport}")
    advice = f"Does {url} run, with DREAMSERVE_ALLOWED_ORIGINS={origin}?"
    expect(page.locator("#status")).to_contain_text(advice)


def test_the_documented_page_plays_from_a_web_server(
    page: Page, url: str, pages: tuple[Path, int]
) -> None:
    (pages[0] / "documented.html").write_text(block("html").replace(PRINTED_URL, url))
    page.goto(f"http://localhost:{pages[1]}/documented.html")
    assert_plays(page)


def test_the_documented_page_plays_from_a_file(page: Page, url: str, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(block("html").replace(PRINTED_URL, url))
    page.goto(file.as_uri())
    assert_plays(page)


def test_the_documented_socket_samples_plans_and_steps(
    run: Callable[..., str], url: str, tmp_path: Path
) -> None:
    script = block("js").replace(PRINTED_STREAM, url.replace("http", "ws"))
    (tmp_path / "stream.mjs").write_text(script)
    printed = run(NODE, "stream.mjs")
    assert re.fullmatch(r"step 1: [0-4] of 4 random futures survive 20 steps\n", printed)


@pytest.mark.parametrize("documented", [False, True])
def test_a_socket_that_closes_fails_what_waits_for_it_and_what_comes_later(
    run: Callable[..., str], socket: str, tmp_path: Path, documented: bool
) -> None:
    if documented:
        begin = block("js").replace(PRINTED_STREAM, socket).partition("const { session_id }")[0]
    else:
        begin = f'import {{ overStream }} from "{JAVASCRIPT}/dream.mjs";\n'
        begin += f'const send = await overStream("{socket}");'
    (tmp_path / "closes.mjs").write_text(begin + SENDS)
    assert run(NODE, "closes.mjs").splitlines() == [
        "a result",
        "invalid_request: no JSON,invalid_request: no JSON",
        "a result",
        "the socket closed,the socket closed",
        "the socket is closed",
    ]


def test_what_waits_for_a_socket_that_the_program_closes_fails(
    run: Callable[..., str], socket: str, tmp_path: Path
) -> None:
    script = f"""
    import {{ overStream }} from "{JAVASCRIPT}/dream.mjs";
    const send = await overStream("{socket}");
    const held = send("hold", {{}}).catch(({{ message }}) => message);
    send.close();
    console.log(await held);
    """
    (tmp_path / "closed.mjs").write_text(script)
    assert run(NODE, "closed.mjs") == "the socket closed\n"


def fields_of(verb: Any) -> dict[str, Any]:
    """Return some fields of a request, those of its path and of its query among them."""
    query = {"limit": 5, "idle_s": 2} if verb.query_fields else {}
    body = {"snapshot": {"latent": [0.5]}} if verb.body else {"seed": 7} if verb.has_body else {}
    return dict.fromkeys(verb.path_fields, "a b--1") | query | body


def test_over_http_every_verb_has_its_method_its_path_and_its_body(
    run: Callable[..., str], tmp_path: Path
) -> None:
    begin = f'import {{ overHttp }} from "{JAVASCRIPT}/dream.mjs";{FETCH}'
    calls = [f"await send({json.dumps(one.name)}, {json.dumps(fields_of(one))});" for one in VERBS]
    (tmp_path / "verbs.mjs").write_text("\n".join([begin, 'const send = overHttp("");', *calls]))
    expected = []
    for verb in VERBS:
        fields = fields_of(verb)
        path = verb.path.format(**dict.fromkeys(verb.path_fields, "a%20b--1"))
        rest = {name: one for name, one in fields.items() if name not in verb.path_fields}
        query = f"?{urlencode(rest)}" if verb.method == "GET" else ""
        body = (rest[verb.body] if verb.body else rest) if verb.has_body else None
        expected.append([verb.method, path + query, body])
    assert [json.loads(line) for line in run(NODE, "verbs.mjs").splitlines()] == expected


@pytest.mark.parametrize("over", ["overHttp", "overStream"])
def test_both_ways_take_the_verbs_of_a_dream(
    run: Callable[..., str], url: str, tmp_path: Path, over: str
) -> None:
    script = f"""
    import {{ {over} }} from "{JAVASCRIPT}/dream.mjs";
    const send = await {over}("{url}");
    const {{ session_id }} = await send("reset", {{ seed: 7, rewind_window: 2 }});
    await send("step", {{ session_id, action: 1, step: 1 }});
    const {{ session_ids }} = await send("fork", {{ session_id, count: 1 }});
    const {{ step }} = await send("rewind", {{ session_id, to_step: 0 }});
    const fork = await send("session", {{ session_id: session_ids[0] }});
    const restored = await send("restore", {{
      session_id, snapshot: await send("snapshot", {{ session_id: session_ids[0] }}) }});
    const {{ worlds }} = await send("worlds");
    const {{ total }} = await send("sessions", {{ limit: 1, idle_s: 0 }});
    console.log(step, fork.step, restored.step, worlds[0].name, total >= 2);
    console.log(await send("delete", {{ session_id }}), await send("delete", {{
      session_id: session_ids[0] }}));
    console.log(await send("session", {{ session_id }}).catch(({{ message }}) => message));
    send.close?.(); // so that the program ends
    """
    (tmp_path / "verbs.mjs").write_text(script)
    shown, deleted, gone = run(NODE, "verbs.mjs").splitlines()
    assert (shown, deleted) == ("0 1 1 takecover true", "undefined undefined")
    assert gone.startswith("session_not_found: ")


def test_the_terminal_shows_a_planned_dream(run: Callable[..., str], url: str) -> None:
    lines = run(NODE, JAVASCRIPT / "terminal.mjs", "2", url).splitlines()
    assert [bool(re.match(r"step \d: action [012], imagined return ", line)) for line in lines] == [
        *([False] * 32 + [True]) * 2
    ]
    assert all(line.count("▀") == 64 for line in lines[:32])


@pytest.mark.parametrize("name", ["index.html", "dream.mjs", "terminal.mjs"])
def test_a_file_begins_with_what_it_does_and_fits_on_a_page(name: str) -> None:
    lines = (JAVASCRIPT / name).read_text().splitlines()
    assert any(re.match(r"(//|<!--) [A-Z].*\.", line) for line in lines[:2])
    assert len(lines) < 80


def test_the_examples_name_the_address_that_the_server_has_by_default() -> None:
    for text in (block("html"), *(path.read_text() for path in JAVASCRIPT.glob("[it]*"))):
        assert PRINTED_URL in text
    assert PRINTED_STREAM in block("js")
