"""Settings, files, options, routes and make targets that our texts mention exist.

settings     DREAMSERVE_NAME, anywhere
files        NAME.py, NAME.md, NAME.toml or NAME.lua, with or without folders, anywhere; not those
             of the reader, which begin with ./
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

import typer

from dreamserve import cli as service_cli
from dreamserve.api.app import create_app
from dreamserve.engine.configured import engine_of
from dreamserve.engine.fake import fake_world
from dreamserve.environment import OF_THE_SDK
from dreamserve.settings import PREFIX, Settings
from dreamserve_training import cli as training_cli

ROOT = Path(__file__).parents[2]
COMMANDS = {"dreamserve": service_cli.main, "dreamserve-train": training_cli.app}
Text = Any  # conftest.Text
Check = Callable[..., None]


@cache
def options() -> dict[str, set[str]]:
    """Return the options of every command and every benchmark, by the command line's start."""
    found: dict[str, set[str]] = {}
    for program, app in COMMANDS.items():
        group = typer.main.get_command(app)
        assert isinstance(group, typer.core.TyperGroup)
        commands = dict(group.commands)
        for name, inner in group.commands.items():  # such as `dreamserve key new`
            if isinstance(inner, typer.core.TyperGroup):
                commands |= {f"{name} {one}": command for one, command in inner.commands.items()}
        for name, command in commands.items():
            known = {opt for option in command.params for opt in option.opts}
            found[f"{program} {name}"] = known | {"--help"}
    folder = ROOT / "benchmarks"
    for path in (*folder.glob("*.py"), *folder.glob("[!.]*/**/*.py")):  # without installed peers
        known = set(re.findall(r'add_argument\(\s*"(--[\w-]+)', path.read_text()))
        # The names of the peers' options may be composed in loops, so they share one set.
        name = "any peer" if path.parent.name == "peers" else f"benchmarks/{path.name}"
        found.setdefault(name, set()).update(known)
    own = (ROOT / "tests" / "conftest.py").read_text()
    found["the tests"] = set(re.findall(r'addoption\(\s*"(--[\w-]+)', own))
    return found


@cache
def routes() -> set[str]:
    settings = Settings()
    app = create_app(engine_of([fake_world()], settings), settings)
    return {re.sub(r"{.*?}", "{}", route.path) for route in app.routes}


def unknown_settings(text: Text) -> Iterator[str]:
    known = {f"{PREFIX}{name}".upper() for name in (*Settings.model_fields, *OF_THE_SDK)}
    yield from set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", text.text)) - known


OF_READERS = {
    "cartpole.py",
    "pendulum.py",
    "NAME.py",
}  # recipes that the documents let their readers write


def unknown_files(tracked: Sequence[str], text: Text) -> Iterator[str]:
    files = "".join(f"/{path}\n" for path in tracked)
    for path in set(re.findall(r"(?<![\w/.*-])[\w./-]*\w\.(?:py|md|toml|lua)\b", text.text)):
        if path.startswith("./") or Path(path).stem == "NAME":
            continue  # a file of the reader's own
        wanted = re.sub(r"^(\.*/)+", "", path)
        if f"/{wanted}\n" not in files and wanted not in OF_READERS:
            yield path


def unknown_options(text: Text) -> Iterator[str]:
    for name, known in options().items():
        for line in re.findall(rf"\b{re.escape(name)}(?![\w-])([^\n`#]*)", text.text):
            yield from (f"{name} {option}" for option in set(_options_in(line)) - known)
    everywhere = set().union(*options().values())
    for span in text.spans:
        if span.startswith("--"):
            yield from set(_options_in(span)) - everywhere


def _options_in(line: str) -> list[str]:
    return re.findall(r"(?<!\S)--[a-z][\w-]*", line)


def unknown_routes(text: Text) -> Iterator[str]:
    for span in text.spans:
        if named := re.fullmatch(r"(?:(?:GET|POST|PUT|PATCH|DELETE) )?(/[\w/{}.-]*)", span):
            path = re.sub(r"{.*?}", "{}", named[1])
            if path not in routes() and not any(known.endswith(f"}}{path}") for known in routes()):
                yield span


def unknown_targets(text: Text) -> Iterator[str]:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in text.spans:
        if (named := re.match(r"make (\w+)", span)) and named[1] not in targets:
            yield span


def test_mentioned_settings_exist(assert_mentions_exist: Check) -> None:
    assert_mentions_exist(unknown_settings, "`DREAMSERVE_PORT`", ["DREAMSERVE_PORTS"])


def test_mentioned_files_exist(tracked: Sequence[str], assert_mentions_exist: Check) -> None:
    valid = "see benchmarks/gpu.py or `wrk/step.lua`"
    assert_mentions_exist(partial(unknown_files, tracked), valid, ["see benchmarks/gpus.py"])


def test_mentioned_options_exist(assert_mentions_exist: Check) -> None:
    valid = "    dreamserve serve x --port 1\n`--rounds`"
    assert_mentions_exist(unknown_options, valid, ["`dreamserve serve --ports 1`"])


def test_mentioned_routes_exist(assert_mentions_exist: Check) -> None:
    valid = "`POST /step`, `/sessions/{id}/fork`, `/fork`"
    assert_mentions_exist(unknown_routes, valid, ["`GET /forks`"])


def test_mentioned_make_targets_exist(assert_mentions_exist: Check) -> None:
    assert_mentions_exist(unknown_targets, "`make serve PORT=1`", ["`make tests`"])
