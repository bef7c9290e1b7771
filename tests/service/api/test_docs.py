"""The pages under docs/ say what the server does."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dreamserve.engine.fake import fake_world
from dreamserve.planning.catalog import PLANNERS
from dreamserve_protocol.errors import leaves

DOCS = Path(__file__).parents[3] / "docs"


def test_the_table_of_errors_is_the_tree() -> None:
    text = (DOCS / "errors.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    expected = [
        (error.code, str(error.status), str(error.__doc__).partition("\n")[0], error.remedy)
        for error in leaves()
    ]
    assert told == expected


def test_the_table_of_planners_has_every_planner_with_its_defaults_and_options() -> None:
    text = (DOCS / "planning.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) x (\d+) \| (.*) \|$", text, re.MULTILINE)
    told = {
        name: (int(candidates), int(iterations), set(re.findall(r"`(\w+)`", options)))
        for name, candidates, iterations, options in rows
    }
    for name, entry in PLANNERS.items():
        options: Any = entry.options()
        own = {one.name for one in fields(options)} - {"candidates", "iterations"}
        expected = options.candidates, getattr(options, "iterations", 1), own
        assert told.pop(name) == expected
    assert not told


@pytest.mark.anyio
async def test_every_curl_of_the_tour_is_answered(serving) -> None:
    text = (DOCS / "api.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    async with serving(fake_world("takecover")) as client:
        await client.http.get("/readyz")
        for command in commands:
            response = await _curl(client.http, command)
            assert response.status_code in (200, 204), (command, response.text)


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
