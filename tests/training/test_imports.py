"""Inside the training package, imports run downwards, from the recipes to the files."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dreamserve_training

PACKAGE = Path(dreamserve_training.__file__).parent

# A layer may import itself and the layers after it. Nothing imports `tools`, which are for users.
LAYERS = (
    "tools",
    "cli",
    "data_commands",
    "command_options",
    "new_recipe",
    "comparison",
    "tasks",
    "stages",
    "assemble",
    "origin",
    "judging",
    "stage_inputs",
    "passes",
    "seeds",
    "defaults",
    "probe",
    "known_data",
    "experience",
    "overrides",
    "recipe_checks",
    "recipe_files",
    "recipe_code",
    "recipes",
    "recipe",
    "workspace",
    "recorded",
    "action_specs",
    "env_specs",
    "validation",
    "evaluation",
    "train",
    "dreams",
    "export",
    "data",
    "models",
    "envs",
    "runs",
    "env_values",
    "progress",
    "files",
)


def imports_of(path):
    """Yield (line, module) of everything that a file imports from this package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name + "."):
            yield node.lineno, node.module


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_belongs_to_a_layer():
    layers = {layer_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert layers == set(LAYERS)


def test_a_layer_imports_only_the_layers_below_it():
    for path in PACKAGE.rglob("*.py"):
        for line, module in imports_of(path):
            own, other = layer_of(path), module.split(".")[1]
            below = LAYERS.index(own) <= LAYERS.index(other)
            assert below, f"{path.relative_to(PACKAGE)}:{line}: {own} must not import {other}"


def test_no_module_imports_the_public_modules():
    public = {"dreamserve_training.tools", "dreamserve_training.models.mdnrnn"}
    for path in PACKAGE.rglob("*.py"):
        for line, module in imports_of(path):
            where = f"{path.relative_to(PACKAGE)}:{line}"
            assert not any(module.startswith(name) for name in public), where


def test_only_the_core_its_row_and_the_public_modules_name_it():
    named = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "mdnrnn" in path.read_text().lower().replace("-", "")
    }
    assert named == {
        "cli.py",  # the command's old name
        "dreams/environment.py",  # public: DreamEnvironment(mdnrnn_model_path=...)
        "models/catalog.py",
        "models/lstm.py",
        "models/mdnrnn.py",
        "recipe.py",  # the default core
        "tools/dataset_utils.py",
    }


PUBLIC = {
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


@pytest.mark.parametrize(("module_name", "names"), PUBLIC.items())
def test_a_public_module_has_its_documented_names(module_name, names):
    module = import_module(f"dreamserve_training.{module_name}")
    assert all(callable(getattr(module, name)) for name in names)
    assert set(names) <= set(module.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_a_model_is_loaded_without_a_trainer():
    code = "import sys, dreamserve_training.models.mdnrnn; sys.exit('lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
