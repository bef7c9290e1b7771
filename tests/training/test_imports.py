"""Inside the training package imports run downwards, from the recipes to the files."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dreamserve_training

PACKAGE = Path(dreamserve_training.__file__).parent

# A part may import itself and the parts after it. Nothing imports `tools`, which are for users.
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


def test_only_the_core_itself_its_row_and_the_faces_for_users_name_it():
    named = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "mdnrnn" in path.read_text().lower().replace("-", "")
    }
    assert named == {
        "cli.py",  # the command's old name
        "dreams/environment.py",  # a face: DreamEnvironment(mdnrnn_model_path=...)
        "models/catalog.py",
        "models/lstm.py",
        "models/mdnrnn.py",
        "recipes/takecover.py",
        "tools/dataset_utils.py",
    }


FACES = {
    "models.mdnrnn": (
        "MDNRNN",
        "SequenceDataset",
        "mdn_loss_function",
        "train_mdnrnn",
        "sample_from_mdn",
        "rollout_in_dream",
    ),
    "tools.dataset_utils": (
        "FramesToLatentConverter",
        "TrajectoryDataset",
        "preprocess_trajectories",
        "create_mdnrnn_dataloader",
    ),
    "tools.dream_env": ("DreamEnvironment", "DreamAgent", "DreamRollout", "DreamPlanner"),
}


@pytest.mark.parametrize(("face", "names"), FACES.items())
def test_a_face_for_users_has_every_name_that_they_know(face, names):
    module = import_module(f"dreamserve_training.{face}")
    assert all(callable(getattr(module, name)) for name in names)
    assert set(names) <= set(module.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_a_model_is_loaded_without_a_trainer():
    code = "import sys, dreamserve_training.models.mdnrnn; sys.exit('lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
