"""docs/options.md has every option of every stage, with its true default."""

import ast
import inspect
import json
from dataclasses import MISSING, fields
from functools import cache

import pytest
from tests.training.option_tables import DOCS, documented

from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.defaults import resolve
from dreamserve_training.export.bank import BankConfig
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.probe import probe
from dreamserve_training.recipe import LIGHT_PLAN, EvaluateConfig, Recipe
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.vae import VAEConfig

PAGE = "options.md"
CONFIGS = {
    "collect": CollectConfig,
    "vae": VAEConfig,
    "train": TrainConfig,
    "controller": ControllerConfig,
    "bank": BankConfig,
    "evaluate": EvaluateConfig,
}
OF_THE_MACHINE = {"workers": "one for each core", "readers": "0; with CUDA up to 4"}


def default_of(item):
    """Return the default of a dataclass's field as the page shows it; empty if it has none."""
    if item.name in OF_THE_MACHINE:
        return OF_THE_MACHINE[item.name]
    if item.default_factory is not MISSING:
        return str(item.default_factory())
    return "" if item.default is MISSING else str(item.default)


@pytest.mark.parametrize("stage", CONFIGS)
def test_a_table_has_every_option_and_its_default(stage):
    expected = {item.name: default_of(item) for item in fields(CONFIGS[stage])}
    assert documented(PAGE, stage) == expected


def test_the_tables_of_memory_options_have_every_argument_and_its_default():
    empty = inspect.Parameter.empty
    arguments = inspect.signature(MDNRNN).parameters.values()
    expected = {each.name: "" if each.default is empty else str(each.default) for each in arguments}
    assert documented(PAGE, "memory_options") == expected


@cache
def resolved(method):
    recipe = Recipe(env="CartPole-v1", controller={"method": method})
    return resolve(recipe, probe(recipe))


@pytest.mark.parametrize("stage", ["controller", "bank"])
def test_what_a_recipe_chooses_is_what_the_page_says(stage):
    compared = 0
    for option, said in documented(PAGE, stage, "in a recipe").items():
        for method, value in zip(("cma", "ppo"), said.split("; of PPO: "), strict=False):
            if is_number(value):
                assert value == str(getattr(getattr(resolved(method), stage), option)), option
                compared += 1
    assert compared >= 4


def is_number(text):
    try:
        return isinstance(ast.literal_eval(text), int | float)
    except (SyntaxError, ValueError):
        return False


def test_what_a_recipe_chooses_for_vectors_is_what_the_page_says():
    """Values of `vectors: 3` are those of a recipe for CartPole."""
    recipe = resolved("cma")
    for stage, of in (("train", vars(recipe.train)), ("memory_options", recipe.memory_options)):
        for option, said in documented(PAGE, stage, "in a recipe").items():
            _, is_said, value = said.partition("; vectors: ")
            if is_said:
                assert value == str(of[option]), option


def test_the_printed_size_of_an_evaluations_plans_is_the_default():
    assert f"`{json.dumps(LIGHT_PLAN)}`" in (DOCS / PAGE).read_text()
