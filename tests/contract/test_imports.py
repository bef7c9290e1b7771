"""Imports run in one direction: between the distributions, and inside the service."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "protocol": ROOT / "protocol/src/dreamserve_protocol",
    "service": ROOT / "service/src/dreamserve",
    "training": ROOT / "training/src/dreamserve_training",
    "clients/python": ROOT / "clients/python/src/dreamserve_client",
}
OURS = {path.name for path in DISTRIBUTIONS.values()}
MAY_IMPORT = {
    "protocol": set(),
    "service": {"dreamserve_protocol"},
    "training": {"dreamserve", "dreamserve_protocol"},
    "clients/python": {"dreamserve_protocol"},
}

# A part of the service may import from its own layer's part and from layers below it.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"api"},
    {"local"},
    {"testing"},
    {"conformance"},
    {"loading"},
    {"engine"},
    {"backends", "planning", "store"},
    {"bundle"},
    {"archives", "folder", "graph_rules", "manifest", "strict_json"},
    {"observations", "schema_1"},
    {"manifest_parts"},
    {"frames", "heads", "settings", "spaces", "validation"},
    {"environment", "errors", "listed", "logs", "noise", "trust"},
)
# What a user may ask of the SDK: the service in this process. Only this file imports it, and only
# inside a function, so that the SDK installs and imports without it.
ON_REQUEST = {
    "clients/python/src/dreamserve_client/transports/in_process.py": {"dreamserve"},
}
COMES_WITH = {"pydantic-core": "pydantic"}  # at its one exact version, and meant to be imported
# The protocol's hooks for pydantic import it only when pydantic calls them.
CALLED_BY = {"protocol": {"pydantic"}}
MOST_IN_A_CHAIN = 21  # modules, from `python -m dreamserve` to the latent heads
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def sources(distribution: str) -> list[Path]:
    return sorted(DISTRIBUTIONS[distribution].rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Return every module that a file imports anywhere; relative imports are not used own."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert getattr(node, "level", 0) == 0, f"{path}:{node.lineno}: relative import"
    yield from imported_by(ast.parse(path.read_text()))


def imported_by(tree: ast.AST) -> Iterator[str]:
    """Every module that a piece of a program imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    """Return the part of the service that a file belongs to: its module or its subpackage."""
    return path.relative_to(DISTRIBUTIONS["service"]).parts[0].removesuffix(".py")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_distribution_imports_only_the_distributions_it_may(distribution):
    allowed = MAY_IMPORT[distribution] | {DISTRIBUTIONS[distribution].name}
    assert sources(distribution)
    for path in sources(distribution):
        roots, where = {name.partition(".")[0] for name in imported(path)}, path.relative_to(ROOT)
        on_request = ON_REQUEST.get(str(where), set())
        assert not (roots & OURS) - allowed - on_request, f"{where} imports {roots & OURS}"


@pytest.mark.parametrize("where", ON_REQUEST)
def test_what_is_imported_on_request_is_imported_inside_functions_only(where):
    top = ast.parse((ROOT / where).read_text()).body
    named = {
        name.partition(".")[0]
        for node in top
        for name in imported_by(node)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert not named & ON_REQUEST[where]
    assert ON_REQUEST[where] <= {name.partition(".")[0] for name in imported(ROOT / where)}


def test_every_part_of_the_service_has_its_layer():
    parts = {part_of(path) for path in sources("service")} - {"__init__"}
    assert parts <= LEVEL.keys(), "say in LAYERS where it belongs"


def test_inside_the_service_imports_run_inwards_only():
    for path in sources("service"):
        own = part_of(path)
        for name in imported(path):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package != "dreamserve" or other not in LEVEL or own == other:
                continue
            where = path.relative_to(ROOT)
            assert own in LEVEL, f"{where}: the package's front imports {name}"
            assert LEVEL[own] < LEVEL[other], f"{where}: {own} must not import {name}"


def module_of(path: Path) -> str:
    """Return the dotted name of a source of the service; an __init__ has its package's."""
    parts = path.relative_to(DISTRIBUTIONS["service"].parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """Return the longest chain of imports. Raises CycleError when imports run in a circle."""
    chains: dict[str, list[str]] = {}
    for name in TopologicalSorter(graph).static_order():  # what is imported comes first
        chains[name] = [name, *max((chains[one] for one in graph[name]), key=len, default=[])]
    return max(chains.values(), key=len)


def test_no_chain_of_imports_in_the_service_is_too_long():
    paths = {module_of(path): path for path in sources("service") if path.stat().st_size}
    graph = {name: {*imported(path)} & {*paths} - {name} for name, path in paths.items()}
    chain = longest_chain(graph)
    assert len(chain) <= MOST_IN_A_CHAIN, " > ".join(chain)


def test_only_settings_reads_the_environment():
    for path in sources("service"):
        if path.name == "settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
            assert name not in {"environ", "getenv"}, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_package_that_is_imported_is_declared(distribution):
    project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    declared |= CALLED_BY.get(distribution, set())
    provided_by = packages_distributions()
    for path in sources(distribution):
        for root in {name.partition(".")[0] for name in imported(path)}:
            if root in sys.stdlib_module_names or root in OURS:
                continue
            providers = {canonicalize_name(name) for name in provided_by.get(root, [root])}
            providers = {COMES_WITH.get(name, name) for name in providers}
            assert providers & declared, f"{path.relative_to(ROOT)} imports {root}: not declared"


def test_every_distribution_is_checked_by_mypy():
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert checked["strict"]
    assert {ROOT / path for path in checked["files"]} == set(DISTRIBUTIONS.values())
