"""mypy knows the parameters and results of every method, from the protocol's dataclasses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_every_misuse_is_a_type_error():
    program = (TYPED / "misfits.py").read_text().splitlines()
    marked = [(line, text.partition("# wrong: ")[2]) for line, text in enumerate(program, 1)]
    expected = [(str(line), code) for line, code in marked if code]
    assert len(expected) > 10
    found = re.findall(r"misfits\.py:(\d+): error: .*\[([\w-]+)\]$", checked("misfits.py"), re.M)
    assert found == expected
