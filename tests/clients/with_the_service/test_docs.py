"""The programs of the SDK's pages run, and the tables of docs/sdk.md say what the code does."""

import re
from pathlib import Path

import pytest

from dreamserve_client.retries import LONGEST_RETRY_AFTER_S, LONGEST_WAIT_S
from dreamserve_client.timeouts import CONNECT_S, DEFAULT_S, LONG_S

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/sdk.md").read_text()
ENVIRONMENTS = (ROOT / "docs/environments.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE + ENVIRONMENTS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs(program, url, monkeypatch, tmp_path):
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    monkeypatch.chdir(tmp_path)  # which it may write to
    exec(compile(program.replace("http://127.0.0.1:8000", url), "a page of docs", "exec"), {})


def test_there_are_programs():
    assert len(PROGRAMS) >= 7


def test_the_timeouts_are_those_of_the_code():
    rows = re.findall(r"^\| (.*) \| (\d+)(?:, and the budget)? \|$", PAGE, re.MULTILINE)
    told = {verb: float(s) for verbs, s in rows for verb in re.findall(r"`(\w+)`", verbs)}
    told.pop("budget_ms")
    told["plan"] = 600.0  # the row without a budget; the other one is that of short calls
    assert told == LONG_S
    assert ("all others", f"{DEFAULT_S:.0f}") in rows
    assert f"within {CONNECT_S:.0f} of these seconds" in PAGE


def test_the_waits_are_those_of_the_code():
    assert f"up to {LONGEST_WAIT_S:.0f} s" in PAGE
    assert f"of up to {LONGEST_RETRY_AFTER_S:.0f} s" in PAGE
