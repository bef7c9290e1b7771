"""The recipes of docs/recipes.md, and its table of fields."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from dreamserve.engine.fake import fake_world
from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.agents import Exploration
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.defaults import resolve
from dreamserve_training.models.vectors import LARGEST
from dreamserve_training.probe import probe
from dreamserve_training.recipe import LIGHT_PLAN, EvaluateConfig, Iteration, Recipe
from dreamserve_training.recipe_files import load_recipe

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
PRINTED = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [block for block in PRINTED if "RECIPE = " in block]
(PLAYER,) = [block for block in PRINTED if "DreamClient" in block]


@pytest.fixture(params=range(len(BLOCKS)))
def recipe(request, tmp_path):
    """Return each recipe of the page, loaded from a file."""
    path = tmp_path / "printed.py"
    path.write_text(BLOCKS[request.param])
    return load_recipe(str(path))


def test_every_printed_recipe_can_be_loaded(recipe):
    assert isinstance(recipe, Recipe)
    assert recipe.env == "CartPole-v1" or callable(recipe.env)


def test_the_first_recipe_is_a_whole_one(tmp_path):
    path = tmp_path / "cartpole.py"
    path.write_text(BLOCKS[0])
    written = load_recipe(str(path))
    resolved = resolve(written, probe(written))
    assert resolved.name == "cartpole"
    assert resolved.env.observation.shape == (4,)
    assert resolved.env.action_space.n == 2


def test_the_printed_player_plans_in_the_real_environment(listening, capsys):
    numbers = VectorSpec(names=tuple("abcd"), low=(None,) * 4, high=(None,) * 4)
    pushes = DiscreteSpace(n=2, names=("left", "right"))
    with listening(fake_world("cartpole", space=pushes, observation=numbers)) as served:
        exec(
            compile(PLAYER.replace("http://127.0.0.1:8000", served.url), "docs/recipes.md", "exec"),
            {},
        )
    assert re.fullmatch(r"(seed \d: \d+\n){3}", capsys.readouterr().out)


def test_the_printed_size_of_an_evaluations_plans_is_the_default():
    assert f"`{json.dumps(LIGHT_PLAN)}`" in TEXT


def test_the_bound_of_vectors_is_the_true_one():
    assert f"mean or deviation is above {LARGEST:,.0f}" in TEXT


def named_in(table):
    """Return the names in the first cells of a table's rows."""
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_table_of_fields_names_every_field_and_the_true_defaults():
    table = TEXT.partition("## What can be changed")[2].partition("## Iterations")[0]
    assert named_in(table) == {field.name for field in fields(Recipe)} - {"env"}
    assert f'"shortest": {CollectConfig.shortest}, "longest": {CollectConfig.longest}' in TEXT


def test_the_table_of_iterations_names_every_field_and_the_true_defaults():
    table = TEXT.partition("## Iterations")[2].partition("## Play again")[0]
    assert named_in(table) == {field.name for field in fields(Iteration)}
    shares = ", ".join(map(str, Iteration(episodes=1).players.values()))
    assert f"as in the first pass | {shares} |" in table
    exploration = Exploration()
    assert f"| {exploration.share}, {exploration.length:g} |" in table
    assert f'"seed": {EvaluateConfig.seed} on' in TEXT.replace("}`", "").replace("`", "")
