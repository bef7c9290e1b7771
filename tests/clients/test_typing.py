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
    """Return mypy's output for a program in strict mode."""
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
def test_correct_use_of_the_sdk_passes_strict_typing():
    assert checked("fits.py") == ""


KINDS = (sdk.DreamClient, sdk.DreamSession, sdk.AsyncDreamClient, sdk.AsyncDreamSession)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_that_program_uses_every_public_method(kind):
    called_on = "dream" if kind.__name__.endswith("Session") else "client"
    definition = ast.AsyncFunctionDef if kind.__name__.startswith("Async") else ast.FunctionDef
    program = ast.parse((TYPED / "fits.py").read_text())
    used = {
        node.attr
        for function in program.body
        if type(function) is definition
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == called_on
    }
    assert {name for name in vars(kind) if not name.startswith("_")} <= used


@pytest.mark.slow
def test_every_misuse_is_a_type_error():
    program = (TYPED / "misfits.py").read_text().splitlines()
    marked = [(line, text.partition("# wrong: ")[2]) for line, text in enumerate(program, 1)]
    expected = [(str(line), code) for line, code in marked if code]
    assert len(expected) > 10
    found = re.findall(r"misfits\.py:(\d+): error: .*\[([\w-]+)\]$", checked("misfits.py"), re.M)
    assert found == expected
