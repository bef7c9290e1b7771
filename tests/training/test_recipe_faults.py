"""A recipe that cannot be run is refused when it is read, by the line, the field or the option."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import count

import pytest

from dreamserve.observations import Crop, FrameSpec
from dreamserve_training.data.collect import CollectConfig, _begin
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import RecipeError, load_recipe
from dreamserve_training.runs.errors import MismatchError

HEAD = """
from dreamserve_training.data.disk import Data
from dreamserve_training.data.signals import Signal
from dreamserve_training.models.controller import Axis, Scores
from dreamserve_training.recipe import Iteration, Recipe
seen = lambda env, observation: {'x': observation[0]}
"""


@pytest.fixture
def load(tmp_path):
    """Return what writes a recipe's file of a text and loads it."""
    numbers = count()

    def load(text):
        path = tmp_path / str(next(numbers)) / "world.py"
        path.parent.mkdir()
        path.write_text(HEAD + text)
        return load_recipe(str(path))

    return load


FILES = {
    "x = = 3": "SyntaxError: .*line 7",
    "from . import helper": "line 7: ImportError.*import modules beside it by their names",
    "raise SystemExit(0)": "line 7: SystemExit: 0",
    "RECIPE = Recipe(env='CartPole-v1', steps=1 / 0)": "line 7: ZeroDivisionError",
    "RECIPE = Recipe(env='CartPole-v1', epochs=3)": r"line 7: .*'epochs'; a recipe has env.*train=",
    "RECIPE = Recipe(data='data/pole')": "line 7: .*data must be an instance of Data",
    "RECIPE = Recipe(data=Data('data/pole', holdout='0.1'))": "holdout must be a valid number",
    "RECIPE = Recipe(data=Data('data/pole', seed=-1))": "seed must be greater than or equal to 0",
    "RECIPE = Recipe(env=3)": "env must be a valid string or must be callable, not 3",
    "RECIPE = Recipe(env='CartPole-v1', name='My World')": "small letters, digits",
    "RECIPE = Recipe(env='CartPole-v1', iterations=Iteration(episodes=3))": "instance of Sequence",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(load, text):
    with pytest.raises(RecipeError, match=rf"world\.py.*{FILES[text]}"):
        load(text)


FIELDS = {
    "steps='1000'": "steps must be a valid integer",
    "steps=0": "steps must be greater than or equal to 1",
    "batch_size=0": "batch_size must be greater",
    "sequence_length=-1": "sequence_length must be greater",
    "max_episode_steps=0": "max_episode_steps must be greater",
    "bank_size=0": "bank_size must be greater",
    "size=(0, 64)": "size must be greater",
    "size=64": "size must be an instance of Sequence",
    "crop=(0, 64)": "crop must have at least 4 items",
    "action_names='ab'": "action_names 'str' instances are not allowed",
    "constant_reward=float('nan')": "constant_reward must be a finite number",
    "done_threshold='0'": "done_threshold must be a valid number",
    "signals={'x': 3}": "signals must be an instance of Signal",
    "record=3": "record must be callable",
    "train=['epochs']": "train must be a valid dictionary",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_another_kind_is_refused_by_name(load, field):
    with pytest.raises(RecipeError, match=rf"line 7: ValueError: Recipe: {FIELDS[field]}"):
        load(f"RECIPE = Recipe(env='CartPole-v1', {field})")


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """Return what the environment of these recipes tells."""
    path = tmp_path_factory.mktemp("asked") / "pole.py"
    path.write_text(HEAD + "RECIPE = Recipe(env='CartPole-v1')")
    return probe(load_recipe(str(path)))


LATE = {  # options that a stage reads after hours
    "memory='gru'": "no memory model 'gru'",
    "memory_options={'rnn_size': '128'}": "rnn_size must be a whole number",
    "memory_options={'rnn': 128}": r"no option \['rnn'\]; known: .*num_mixtures.*rnn_size",
    "memory_options={'head': 'joined'}": "head must be one of",
    "baselines={'x': [5]}": "baselines: 'x': action 5 is not in Discrete",
    "baselines={'x': []}": "baselines: 'x' has no actions",
    "baselines={'random': [1]}": "baselines: 'random': choose another name than 'random'",
    "baselines={'vision-cut': [1]}": "'vision-cut': choose another name than 'vision cut'",
    "baselines={'a b': [1], 'a-b': [1]}": "baselines: 'a-b': choose another name than 'a b' has",
    "baselines={'a/b': [1]}": "baselines: 'a/b': must be the name of a file",
    "controller={'population': 1}": "population must be greater than or equal to 2",
    "controller={'method': 'ppo', 'reward': {'hti': -1.0}}": r"controller: reward: .* no \['hti'\]",
    "controller={'method': 'ppo', 'inputs': ('foo',)}": r"controller: inputs \['foo'\]: must be",
    "finetune={'hidden': 8}": "finetune: hidden stays 0, as C has learned in dreams",
    "controller={'method': 'ppo'}, finetune={'critic_size': 8}": "finetune: critic_size stays 128",
    "finetune={'reward': {'hti': 1.0}}": r"finetune: reward: .* no \['hti'\]",
    "record=seen, signals={'done_logit': Signal('x')}": "'done_logit', which has another meaning",
    "record=seen, signals={'end': Signal('x')}, controller={'method': 'ppo'}": "rename the world",
    "evaluate={'plan': {'planner': 'best'}}": "evaluate: plan: planner",
    "evaluate={'plan': {'horizon': -1}}": "evaluate: plan: horizon",
    "evaluate={'plan': {'steps': 3}}": "evaluate: plan: steps: is not a known field",
    "evaluate={'plan': {'session_id': 'x'}}": "evaluate: plan: session_id: each episode has one",
    "evaluate={'plan': {'objective': {'signals': {'hit': -1}}}}": "plan: .*signals: .* no 'hit'",
    "evaluate={'plan': {'objective': {'target': [0.0]}}}": r"plan: objective\.target.*4",
    "evaluate={'plan': {'objective': {'target_vector': [0.0]}}}": r"plan: objective\.target_vector",
    "evaluate={'plan': {'options': {'elite': 3}}}": "plan: cem has the options",
    "evaluate={'plan': {'policy': 'bundled'}}": "plan: .* no bundled controller",
    "evaluate={'plan': {'policy': {'kind': 'constant', 'action': 7}}}": "plan: .*action 7",
    "iterations=[Iteration(episodes=9, evaluate={'plan': {'options': {'x': 1}}})]": "plan: cem has",
    "collect={'longest': 0.5}": "longest must be greater than or equal to 1",
    "collect={'shortest': 5.0, 'longest': 2.0}": "shortest 5 must be at most longest, 2",
    "controller={'form': Scores(3)}": r"form: Scores\(actions=3\) .* 2 scores",
    "controller={'form': Axis(2, 0, 1, 2)}": "Axis: .* three different actions, 0 to 1",
    "vae={'frames': 9, 'batch_size': 10}": "frames 9 must be at least batch_size, 10",
    "train={'device': 'gpu9'}": "device must be 'auto', 'cpu'",
    "vae={'z_dim': 0}": "z_dim must be greater",
    "batch_size=1, train={'devices': 2}": "train: 2 processes cannot share batches of 1",
    "batch_size=3, train={'devices': 2, 'num_nodes': 2}": "train: 4 processes cannot share",
    "train={'devices': 2, 'carry_state': True}": "train: one process alone .*carry_state",
    "iterations=[Iteration(episodes=9, evaluate={'plan': {'horizon': 0}})]": "plan: horizon",
}


@pytest.mark.parametrize("option", LATE)
def test_an_option_of_a_late_stage_is_refused_before_anything_is_collected(load, probed, option):
    with pytest.raises(ValueError, match=LATE[option]):
        resolve_passes(load(f"RECIPE = Recipe(env='CartPole-v1', {option})"), probed)


def test_batches_of_v_are_large_enough_for_its_processes(load, probed):
    recipe = load("RECIPE = Recipe(env='CartPole-v1', vae={'batch_size': 2, 'devices': 3})")
    resolve_passes(recipe, probed)  # the V of numbers is no training
    whole = Crop(top=0, bottom=8, left=0, right=8)
    pictures = FrameSpec(source_shape=(8, 8, 3), crop=whole, shape=(8, 8, 3))
    seeing = replace(probed, env=replace(probed.env, observation=pictures))
    with pytest.raises(ValueError, match="vae: 3 processes cannot share batches of 2"):
        resolve_passes(recipe, seeing)


def test_lists_and_arrays_are_as_good_as_tuples(load, probed):
    recipe = load(
        "import numpy\n"
        "RECIPE = Recipe(env='CartPole-v1', size=[8, 8], crop=[0, 9, 0, 9],\n"
        "    baselines={'sway': numpy.array([0, 1])}, memory_options={'rnn_size': 100_000})"
    )
    assert resolve_passes(recipe, probed)[0].baselines == (("sway", (0, 1)),)


CODE = """
from functools import partial

SPEED = 2


def helper(rng):
    return SPEED


def play(rng, space):
    yield helper(rng)


RECIPE = Recipe(env=lambda: 3, policy=play, steps=100)
"""


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (CODE.replace("steps=100", "steps=200"), {"env", "policy"}),
        (CODE.replace("yield helper", "# faster\n    yield  helper"), {"env", "policy"}),
        (CODE.replace("SPEED = 2", "SPEED = 3"), {"env"}),
        (CODE.replace("lambda: 3", "lambda: 4"), {"policy"}),
        (CODE.replace("policy=play", "policy=partial(play)"), {"env"}),
    ],
)
def test_the_code_of_a_recipes_functions_is_told_from_its_other_parts(load, changed, same):
    first, second = load(CODE), load(changed)
    kept = {name for name in ("env", "policy") if _code(first, name) == _code(second, name)}
    assert kept == same


MADE = """
from functools import partial


def make(limit):
    return limit


def maker(limit):
    return lambda: make(limit)


class Maker:
    def __init__(self, limit):
        self.limit = limit

    def __call__(self):
        return make(self.limit)


OF_100 = partial(make, 100)
RECIPE = Recipe(env={})
"""


@pytest.mark.parametrize("env", ["partial(make, {})", "maker({})", "Maker({})", "lambda: make({})"])
def test_the_arguments_that_an_environment_is_made_with_are_part_of_its_code(load, env):
    one, same, other = (load(MADE.format(env.format(limit))) for limit in (100, 100, 7))
    assert _code(one, "env") == _code(same, "env") != _code(other, "env")


def test_a_name_stands_for_what_it_is_defined_as(load):
    one, other = (load(MADE.replace("100)", f"{n})").format("OF_100")) for n in (100, 7))
    assert _code(one, "env") != _code(other, "env")


def _code(recipe, name):
    return getattr(recipe, name).code()


def test_episodes_of_an_environment_whose_code_changed_are_refused(load, tmp_path):
    env = """
import gymnasium

def make():
    return gymnasium.make("CartPole-v1", {}
    )

RECIPE = Recipe(env=make)
"""
    for text, outcome in (
        ("", nullcontext()),
        ("# faster", nullcontext()),
        ("sutton_barto_reward=True", pytest.raises(MismatchError, match=r"code\.env was")),
    ):
        spec = probe(load(env.format(text))).env
        with outcome:
            _begin(spec, tmp_path / "episodes", CollectConfig(episodes=1), restart=False)
            (tmp_path / "episodes" / "episode-000000.npz").touch()
