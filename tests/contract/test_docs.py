"""Links in the documents exist, and their tables are complete and up to date."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dreamserve.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_linked_file_exists(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def test_every_setting_is_in_the_deployment_page_with_its_default():
    text = (ROOT / "docs/deploy.md").read_text()
    documented = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    fields = Settings.model_fields
    assert documented.keys() == {name.upper() for name in fields}
    for name, field in fields.items():
        shown = Settings.model_validate({name: documented[name.upper()]})
        assert getattr(shown, name) == field.default, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_with_code_that_can_run_has_a_test_that_runs_it(page):
    if re.search(r"^```(sh|bash|python)$", page.read_text(), re.MULTILINE):
        tests = (ROOT / "tests").rglob("test_*.py")
        assert any(page.name in path.read_text() for path in tests if path != Path(__file__))


def test_the_figures_beside_alternatives_are_those_of_the_measurements():
    figures = re.findall(
        r"[\d,.]*\d (?:steps/s|s)\b|\b\d+,\d{3}", (ROOT / "docs/alternatives.md").read_text()
    )
    measured = (ROOT / "docs/performance.md").read_text()
    assert len(figures) > 5
    assert not [one for one in figures if one.split()[0] not in measured]


def test_the_tables_that_repeat_the_contract_are_up_to_date():
    command = [sys.executable, str(ROOT / "docs/tables.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, f"make docs rewrites them; {checked.stdout}{checked.stderr}"
