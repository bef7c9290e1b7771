"""Inside the training package imports run downwards, from the recipes to the files."""

import ast
from pathlib import Path

import dreamserve_training

PACKAGE = Path(dreamserve_training.__file__).parent

# A room may import itself and the rooms after it. `tools` are faces: nothing imports them.
ROOMS = (
    "tools",
    "cli",
    "stages",
    "assemble",
    "origin",
    "recipes",
    "recipe",
    "validation",
    "evaluation",
    "train",
    "dreams",
    "export",
    "data",
    "models",
    "envs",
    "progress",
    "files",
)


def imports_of(path):
    """(line, module) of everything that a file imports from this package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name + "."):
            yield node.lineno, node.module


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_belongs_to_a_room():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set(ROOMS)


def test_a_room_imports_only_the_rooms_below_it():
    for path in PACKAGE.rglob("*.py"):
        for line, module in imports_of(path):
            here, there = room_of(path), module.split(".")[1]
            below = ROOMS.index(here) <= ROOMS.index(there)
            assert below, f"{path.relative_to(PACKAGE)}:{line}: {here} must not import {there}"


def test_no_module_imports_the_faces_for_users():
    faces = {"dreamserve_training.tools", "dreamserve_training.models.mdnrnn"}
    for path in PACKAGE.rglob("*.py"):
        for line, module in imports_of(path):
            where = f"{path.relative_to(PACKAGE)}:{line}"
            assert not any(module.startswith(face) for face in faces), where
