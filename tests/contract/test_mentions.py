"""What pages, docstrings and comments tell us to type exists.

settings     DREAMSERVE_NAME, anywhere
files        NAME.py, NAME.md, NAME.toml or NAME.lua, with or without folders, anywhere
options      --option after `dreamserve COMMAND`, `dreamserve-train COMMAND` or
             benchmarks/NAME.py, on that line; and in backticks of its own
routes       /path in backticks, alone or after its method
targets      `make TARGET`
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import typer

from dreamserve import cli as service_cli
from dreamserve.api.app import openapi_document
from dreamserve.settings import PREFIX, Settings
from dreamserve_training import cli as training_cli

ROOT = Path(__file__).parents[2]
COMMANDS = {"dreamserve": service_cli.main, "dreamserve-train": training_cli.app}
OTHER_PATHS = {"/docs", "/openapi.json", "/play", "/stream"}
Told = Any  # conftest.Told
Rule = Callable[[Told], Iterator[str]]


@cache
def options() -> dict[str, set[str]]:
    """Return the options of every command and of every benchmark, by what one types."""
    found: dict[str, set[str]] = {}
    for program, app in COMMANDS.items():
        group = typer.main.get_command(app)
        assert isinstance(group, typer.core.TyperGroup)
        for name, command in group.commands.items():
            known = {opt for option in command.params for opt in option.opts}
            found[f"{program} {name}"] = known | {"--help"}
    for path in (ROOT / "benchmarks").rglob("*.py"):
        known = set(re.findall(r'add_argument\(\s*"(--[\w-]+)', path.read_text()))
        # Peers are started by our own scripts, with options that are made up in loops.
        name = "any peer" if path.parent.name == "peers" else f"benchmarks/{path.name}"
        found.setdefault(name, set()).update(known)
    return found


@cache
def routes() -> set[str]:
    paths = {re.sub(r"{.*?}", "{}", path) for path in openapi_document()["paths"]}
    return paths | OTHER_PATHS


def unknown_settings(told: Told) -> Iterator[str]:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    yield from set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", told.text)) - known


def unknown_files(tracked: Sequence[str], told: Told) -> Iterator[str]:
    files = "".join(f"/{path}\n" for path in tracked)
    for path in set(re.findall(r"(?<![\w/.*-])[\w./-]*\w\.(?:py|md|toml|lua)\b", told.text)):
        wanted = re.sub(r"^(\.*/)+", "", path)
        if f"/{wanted}\n" not in files:
            yield path


def unknown_options(told: Told) -> Iterator[str]:
    for name, known in options().items():
        for line in re.findall(rf"\b{re.escape(name)}(?![\w-])([^\n`#]*)", told.text):
            yield from (f"{name} {one}" for one in set(_options_in(line)) - known)
    everywhere = set().union(*options().values())
    for span in told.spans:
        if span.startswith("--"):
            yield from set(_options_in(span)) - everywhere


def _options_in(line: str) -> list[str]:
    return re.findall(r"(?<!\S)--[a-z][\w-]*", line)


def unknown_routes(told: Told) -> Iterator[str]:
    for span in told.spans:
        if named := re.fullmatch(r"(?:(?:GET|POST|PUT|PATCH|DELETE) )?(/[\w/{}.-]*)", span):
            path = re.sub(r"{.*?}", "{}", named[1])
            if path not in routes() and not any(known.endswith(f"}}{path}") for known in routes()):
                yield span


def unknown_targets(told: Told) -> Iterator[str]:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in told.spans:
        if (named := re.match(r"make (\w+)", span)) and named[1] not in targets:
            yield span


EXAMPLES = {  # what each rule lets pass, and what it finds
    "settings": ("`DREAMSERVE_PORT`", "DREAMSERVE_PORTS"),
    "files": ("see benchmarks/gpu.py or `wrk/step.lua`", "see benchmarks/gpus.py"),
    "options": ("    dreamserve serve x --port 1\n`--rounds`", "`dreamserve serve --ports 1`"),
    "routes": ("`POST /step`, `/sessions/{id}/fork`, `/fork`", "`GET /forks`"),
    "targets": ("`make serve PORT=1`", "`make tests`"),
}


@pytest.fixture(params=EXAMPLES)
def rule(request: pytest.FixtureRequest, tracked: Sequence[str]) -> Rule:
    found: dict[str, Rule] = {
        "settings": unknown_settings,
        "files": partial(unknown_files, tracked),
        "options": unknown_options,
        "routes": unknown_routes,
        "targets": unknown_targets,
    }
    return found[request.param]


def test_what_is_mentioned_exists(rule: Rule, told: list[Told]) -> None:
    stale = {f"{one.path}: {name}" for one in told for name in rule(one)}
    assert not stale, "\n" + "\n".join(sorted(stale))


def test_what_does_not_exist_is_found(
    rule: Rule, request: pytest.FixtureRequest, telling: Callable[[str], Told]
) -> None:
    right, wrong = EXAMPLES[request.node.callspec.params["rule"]]
    assert not list(rule(telling(right)))
    assert list(rule(telling(wrong)))
