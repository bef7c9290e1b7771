"""The pages under docs/ agree with the server."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dreamserve.engine.fake import fake_world

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.anyio
async def test_every_curl_of_the_tour_succeeds(serving) -> None:
    text = (DOCS / "api.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    async with serving(fake_world("takecover")) as client:
        await client.http.get("/readyz")
        for command in commands:
            response = await _curl(client.http, command)
            assert response.status_code in (200, 204), (command, response.text)


# of the fields of an answer: those that no world has a say in
SAME = ("format", "format_version", "session_id", "session_ids", "seed", "seeds", "temperature")
SAME += ("temperatures", "errors")
OF_A_BUNDLE = {"signals", "world_version"}  # the fake world has neither


@pytest.mark.anyio
async def test_the_tours_example_answers_are_those_of_the_server(serving) -> None:
    text = (DOCS / "api.md").read_text()
    pairs = re.findall(r"^```bash\n([^`]*)^```\n\n```json\n(.*?)^```", text, re.M | re.S)
    assert len(pairs) >= 10
    async with serving(fake_world("takecover")) as client:
        await client.reset(session_id="tour", seed=7)
        for commands, shown in pairs:
            for command in commands.splitlines():
                answer = (await _curl(client.http, command)).json()
            shown = json.loads(shown)
            assert shown.keys() - OF_A_BUNDLE <= answer.keys(), commands
            for name in shown.keys() & set(SAME):
                assert shown[name] == answer[name], (commands, name)


async def _curl(http, command):
    name, *words = shlex.split(command)
    assert name == "curl"
    method, body = "GET", None
    if "-X" in words:
        at = words.index("-X")
        method, words = words[at + 1], words[:at] + words[at + 2 :]
    if "--json" in words:
        at = words.index("--json")
        method, body, words = "POST", json.loads(words[at + 1]), words[:at] + words[at + 2 :]
    (url,) = words
    return await http.request(method, url.removeprefix("localhost:8000"), json=body)


def test_the_tours_example_answers_are_json() -> None:
    for page in ("api.md", "errors.md"):
        for block in re.findall(r"^```json\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S):
            assert json.loads(block)
