"""mypy knows the parameters and results of every method, from the protocol's dataclasses."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dreamserve_client as sdk

ROOT = Path(__file__).parents[2]
TYPED = Path(__file__).parent / "typed"
SOURCES = ("protocol/src", "clients/python/src")


def checked(program: str) -> str:
    """Return what mypy says of a program in strict mode."""
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", TYPED / program],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": ":".join(str(ROOT / source) for source in SOURCES)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not run.stderr
    return run.stdout


@pytest.mark.slow
def test_a_program_that_uses_the_sdk_well_is_typed_throughout():
    assert checked("fits.py") == ""


KINDS = (sdk.DreamClient, sdk.DreamSession, sdk.AsyncDreamClient, sdk.AsyncDreamSession)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_that_program_uses_every_public_method(kind):
    tree = ast.parse((TYPED / "fits.py").read_text())
    awaited = kind.__name__.startswith("Async")
    used: set[str] = set()
    for function in tree.body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and (
            isinstance(function, ast.AsyncFunctionDef) is awaited
        ):
            name = "dream" if kind.__name__.endswith("Session") else ("client", "patient")
            used |= {
                node.attr
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in name
            }
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public <= used


@pytest.mark.slow
def test_every_misuse_is_an_error_of_types():
    program = (TYPED / "misfits.py").read_text().splitlines()
    marked = [(line, text.partition("# wrong: ")[2]) for line, text in enumerate(program, 1)]
    expected = [(str(line), code) for line, code in marked if code]
    assert len(expected) > 10
    found = re.findall(r"misfits\.py:(\d+): error: .*\[([\w-]+)\]$", checked("misfits.py"), re.M)
    assert found == expected
