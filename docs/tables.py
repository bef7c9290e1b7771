"""Write the tables of docs/ that repeat the contract: fields, results, routes, errors, metrics.

    python docs/tables.py            # rewrite them in place
    python docs/tables.py --check    # say which pages are out of date; exit with 1 if any is

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. NAME is `verbs`, `errors`,
`planners`, `settings`, `metrics`, `options`, or a verb's name with `request` or `result` behind it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter

from dreamserve import cli
from dreamserve.api.app import openapi_document
from dreamserve.api.metrics import METRICS
from dreamserve.planning.catalog import PLANNERS
from dreamserve.planning.options import bounds
from dreamserve.settings import PREFIX, Settings
from dreamserve_protocol.errors import error_classes
from dreamserve_protocol.verbs import BY_NAME, VERBS

DOCS = Path(__file__).parent
_TABLE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def verbs() -> Iterator[str]:
    """Yield the table of verbs."""
    yield "| request | verb on the stream | what it does |"
    yield "|---|---|---|"
    for verb in VERBS:
        yield f"| `{verb.method} {verb.path}` | `{verb.name}` | {verb.summary} |"


def errors() -> Iterator[str]:
    """Yield the table of errors."""
    yield "| code | status | what happened | what to do |"
    yield "|---|---|---|---|"
    for kind in error_classes():
        yield f"| `{kind.code}` | {kind.status} | {kind.__doc__} | {kind.remedy} |"


def planners() -> Iterator[str]:
    """Yield the table of planners' options."""
    yield "| planner | option | default | within |"
    yield "|---|---|---|---|"
    for name, entry in PLANNERS.items():
        defaults = entry.options()
        for option, (least, most) in bounds(entry.options).items():
            range_ = f"{least:g} and more" if most == float("inf") else f"{least:g} to {most:g}"
            yield f"| `{name}` | `{option}` | {getattr(defaults, option):g} | {range_} |"


def settings() -> Iterator[str]:
    """Yield the table of the server's settings."""
    yield "| variable | default | what it is |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = f"{field.default:g}" if isinstance(field.default, float) else field.default
        if isinstance(field.default, bool):
            default = str(field.default).lower()
        yield f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"


def metrics() -> Iterator[str]:
    """Yield the table of metrics."""
    yield "| metric | type | labels | what it is |"
    yield "|---|---|---|---|"
    for row in METRICS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.help} |".replace("|  |", "| |")


def options() -> Iterator[str]:
    """Yield the table of the commands' options."""
    yield "| command | option | what it is |"
    yield "|---|---|---|"
    group: Any = typer.main.get_command(cli.main)
    for name, command in _commands(group):
        for option in command.params:
            if option.opts[0].startswith("--"):
                yield f"| `dreamserve {name}` | `{option.opts[0]}` | {option.help} |"


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group and of the groups in it, with their names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", one) for inner, one in _commands(command))
        else:
            yield name, command


TABLES = {
    "verbs": verbs,
    "errors": errors,
    "planners": planners,
    "settings": settings,
    "metrics": metrics,
    "options": options,
}


def fields(verb_name: str, side: str) -> Iterator[str]:
    """Yield the table of a request's or a result's fields."""
    verb = BY_NAME[verb_name]
    kind = verb.request if side == "request" else verb.result
    assert kind is not None
    schemas = openapi_document()["components"]["schemas"]
    in_query = side == "request" and verb.query_fields
    schema: dict[str, Any] = json_schema(kind) if in_query else schemas[kind.__name__]
    required = schema.get("required", ())
    yield "| field | what it is |"
    yield "|---|---|"
    for name, described in schema["properties"].items():
        text = described.get("description") or described.get("type", "")
        needed = "Required. " if side == "request" and name in required else ""
        yield f"| `{name}` | {needed}{text} |".replace("|  |", "| |")


def json_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a request whose fields are in the query string."""
    return TypeAdapter(kind).json_schema()


def written(page: str) -> str:
    """Return a page with its tables as they should be."""

    def table(found: re.Match[str]) -> str:
        name, *side = found[2].split()
        rows = fields(name, side[0]) if side else TABLES[name]()
        return found[1] + "\n" + "\n".join(rows) + "\n\n" + found[3]

    return _TABLE.sub(table, page)


def main() -> None:
    """Rewrite the pages, or check them."""
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text()
        if (right := written(page)) != page:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(right)
    print(f"out of date: {', '.join(stale)}" if stale else "all tables are up to date")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
