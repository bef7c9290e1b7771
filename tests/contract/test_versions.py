"""The distributions and the changelog share one version, and every dependency is pinned."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dreamserve

ROOT = Path(__file__).parents[2]
OURS = {
    "dreamserve-protocol": "protocol",
    "dreamserve": "service",
    "dreamserve-training": "training",
    "dreamserve-client": "clients/python",
}


def project(folder: str) -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pinned}


def requirements() -> Iterator[Requirement]:
    for folder in OURS.values():
        extras = project(folder).get("optional-dependencies", {}).values()
        for line in chain(project(folder)["dependencies"], *extras):
            yield Requirement(line)
    for line in (ROOT / "requirements-dev.txt").read_text().splitlines():
        if not line.startswith("#"):
            yield Requirement(line)


def installed() -> dict[str, str]:
    """Return the installed versions of all requirements and their dependencies, by name."""
    found: dict[str, str] = {}
    waiting = list(requirements())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}
        )
        if not applies or name in found or name in OURS:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        found[name] = package.version.partition("+")[0]
        for line in package.requires or ():
            child = Requirement(line)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}
            ):
                child.marker = None
                waiting.append(child)
    return found


def test_the_distributions_and_the_changelog_say_the_same_version():
    versions = {project(folder)["version"] for folder in OURS.values()}
    changelog = (ROOT / "CHANGELOG.md").read_text()
    latest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert latest is not None
    assert versions == {latest[1]}
    assert dreamserve.__version__ == latest[1]


def test_the_distributions_are_named_after_their_folders():
    assert {project(folder)["name"]: folder for folder in OURS.values()} == OURS


def test_every_pin_is_exact_and_without_a_build_tag():
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"


def test_every_installed_package_is_pinned():
    found = installed()
    assert len(found) > 40
    pinned = pins()
    wrong = {name: version for name, version in found.items() if pinned.get(name) != version}
    assert not wrong, f"pin these in constraints.txt (or install what it says): {wrong}"


def test_plain_onnxruntime_is_pinned_as_its_gpu_build_is():
    assert pins()["onnxruntime"] == pins()["onnxruntime-gpu"]
