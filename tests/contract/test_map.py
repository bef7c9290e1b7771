"""The table of paths in CONTRIBUTING.md is complete and has no path that does not exist."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = "service/src/dreamserve"
PACKAGES = (
    SERVICE,
    "training/src/dreamserve_training",
    "clients/python/src/dreamserve_client",
)


def rows() -> list[str]:
    """Return the paths of the map: the first cell of each row, in backticks."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(paths) > 30
    return paths


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def test_every_path_on_the_map_exists():
    missing = [path for path in rows() if not (ROOT / path).exists()]
    assert not missing


def test_no_path_is_on_the_map_twice():
    assert len(set(rows())) == len(rows())


def test_every_folder_at_the_top_is_on_the_map():
    tops = {path.partition("/")[0] for path in tracked() if "/" in path}
    named = {path.partition("/")[0] for path in rows()}
    assert tops <= named


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_and_subpackage_of_a_distribution_is_on_the_map(package):
    parts = set()
    for path in tracked():
        if path.startswith(package + "/") and path.endswith(".py"):
            part = path.removeprefix(package + "/").partition("/")[0]
            parts.add(f"{package}/{part}" + ("" if part.endswith(".py") else "/"))
    parts.discard(f"{package}/__init__.py")
    assert parts
    assert parts <= set(rows())


def test_the_row_of_a_subpackage_of_the_service_names_its_modules_and_folders():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = rf"^\| `({SERVICE}(?:/\w+)+)/` \| (.*) \|.*\|$"
    described = dict(re.findall(rows, text, re.MULTILINE))
    for package, description in described.items():
        modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
        folders = {f"{path.parent.name}/" for path in (ROOT / package).glob("*/__init__.py")}
        assert modules | folders == set(re.findall(r"`(\w+/?)`", description)), package
        assert {f"{package}/{folder.rstrip('/')}" for folder in folders} <= set(described)


def test_a_committed_bundle_has_at_most_12_mb():
    sizes = Counter()
    for path in tracked():
        if path.startswith("bundles/"):
            sizes[path.split("/")[1]] += (ROOT / path).stat().st_size
    assert sizes
    assert max(sizes.values()) <= 12_000_000, sizes
