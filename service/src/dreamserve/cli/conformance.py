"""`dreamserve check`: a bundle held to its contract, for people or as JSON."""

import json
from pathlib import Path
from typing import Any

import typer

from dreamserve.conformance.suite import check_bundle
from dreamserve.errors import printable
from dreamserve.settings import Settings


def run(bundle: Path, given: dict[str, Any], *, strict: bool, as_json: bool) -> int:
    """Print what was found and return the exit status: 1 if the bundle breaks its contract."""
    report = check_bundle(bundle, Settings.load(**given).trust)
    if as_json:
        typer.echo(json.dumps(report.fields(), indent=2))  # in ASCII: nothing commands a terminal
    else:
        for line in report.lines():
            typer.echo(printable(line))
    return int(bool(report.findings if strict else report.errors()))
