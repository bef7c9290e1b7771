"""A real environment is data: a new one works in collection and evaluation."""

import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_protocol.errors import InvalidActionError
from dreamserve_training import stages
from dreamserve_training.data.collect import CollectConfig, collect, record_episode
from dreamserve_training.data.episodes import load_episode
from dreamserve_training.defaults import resolve
from dreamserve_training.env_values import UnsupportedEnvironmentError
from dreamserve_training.envs import EnvSpec, MissingEnvironmentError, env_action
from dreamserve_training.evaluation.real import (
    EpisodeResults,
    blind_agents,
    compare_agents,
    play,
)
from dreamserve_training.export import world_spec
from dreamserve_training.models.controller import LinearPolicy, save_policy
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.workspace import Workspace, read_json

# A bright bar that rises and sinks; half a point a step, until it leaves the picture.
GAME = """
import gymnasium
import numpy as np


class Lift(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Dict(
        {"eye": gymnasium.spaces.Box(0, 255, (70, 90, 3), np.uint8)}
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = 0
        return self.observation(), {}

    def step(self, action):
        self.row += {0: 1, 1: 0, 2: -1}[action]
        return self.observation(), 0.5, abs(self.row) > 4, False, {}

    def observation(self):
        eye = np.full((70, 90, 3), 9, np.uint8)
        eye[32 + self.row, :] = 250
        eye[:3] = eye[-3:] = 99  # a frame around the picture, which the crop takes off
        return {"eye": eye}


gymnasium.register("Lift-v0", Lift)
"""
SINK, HOVER, RISE = range(3)
RECIPE = Recipe(
    env="lift_game:Lift-v0",
    name="lift",
    action_names=("sink", "hover", "rise"),
    crop=(3, 67, 10, 74),
    size=(64, 64),
    max_episode_steps=20,
    baselines={"nothing": [HOVER], "sweep 3": [RISE] * 3 + [SINK] * 3, "always rise": [RISE]},
    evaluate={"episodes": 2, "dream_temperatures": (1.0,), "workers": 1, "plan_episodes": 1},
)
LIFT = EnvSpec(
    env="lift_game:Lift-v0",
    env_id="Lift-v0",
    observation=FrameSpec(
        source_shape=(70, 90, 3),
        crop=Crop(top=3, bottom=67, left=10, right=74),
        shape=(64, 64, 3),
    ),
    action_space=DiscreteSpace(n=3, names=("sink", "hover", "rise")),
    max_episode_steps=20,
    part="eye",
)


@pytest.fixture
def lift(tmp_path, monkeypatch):
    """Put the game's module on the path of this process and its workers."""
    (tmp_path / "lift_game.py").write_text(GAME)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("lift_game", None)
    gymnasium.registry.pop("Lift-v0", None)


@pytest.mark.usefixtures("lift")
def test_what_a_recipe_leaves_out_follows_from_the_environment():
    probed = probe(RECIPE)
    assert probed.env == LIFT
    assert 5 <= probed.mean_steps <= 20
    resolved = resolve(RECIPE, probed)
    assert resolved.controller.max_steps == 20
    assert resolved.controller.form.actions == 3


@pytest.mark.usefixtures("lift")
def test_an_environment_is_asked_only_once_in_a_workspace(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    probed = probe(RECIPE, workspace)
    gymnasium.registry.pop("Lift-v0")
    assert probe(RECIPE, workspace) == probed
    with pytest.raises(UnsupportedEnvironmentError, match="Lift"):
        probe(replace(RECIPE, size=(32, 32)), workspace)  # another question


def test_a_baseline_whose_actions_do_not_exist_is_refused():
    with pytest.raises(InvalidActionError, match="action 3 is not in Discrete"):
        blind_agents(LIFT, CollectConfig(), [("fall", [SINK, 3])])


def test_an_environment_that_is_not_installed_says_how_to_install_it():
    missing = replace(LIFT, env="no_such_game:Lift-v0", install="pip install no-such-game")
    with pytest.raises(MissingEnvironmentError, match=r"no_such_game.*pip install no-such-game"):
        missing.open()


def test_an_id_that_is_not_registered_is_refused():
    with pytest.raises(UnsupportedEnvironmentError, match="module:Id-v0"):
        replace(LIFT, env="NoSuchGame-v0").open()


@pytest.mark.usefixtures("lift")
def test_blind_agents_earn_what_their_actions_earn():
    agents = blind_agents(LIFT, CollectConfig(), list(RECIPE.baselines.items()))
    assert [agent.name for agent in agents[:2]] == ["random", "as collected"]
    told: list[tuple[int, int]] = []
    results = compare_agents(
        LIFT, agents, seeds=[1, 2], workers=1, progress=lambda *counts: told.append(counts)
    )
    assert told == [(done, 2 * len(agents)) for done in range(2 * len(agents) + 1)]
    assert results["nothing"] == results["sweep 3"] == EpisodeResults([10.0] * 2, [20] * 2)
    assert results["always rise"] == EpisodeResults([2.5] * 2, [5] * 2)
    # the limit is one of steps, whatever a step earns
    assert results["nothing"].summary(limit=20)["share_at_limit"] == 1.0
    assert results["always rise"].summary(limit=20)["share_at_limit"] == 0.0


@pytest.mark.usefixtures("lift")
def test_a_policy_that_has_no_more_actions_ends_its_episode_when_it_is_judged_too():
    config = CollectConfig(policy=lambda rng, space: [HOVER, SINK, HOVER])
    assert len(record_episode(LIFT.open(), config, 1)["actions"]) == 3
    as_collected = blind_agents(LIFT, config)[1].build()
    assert play(LIFT.open(), as_collected, 1) == (1.5, 3)


def test_the_extreme_actions_of_a_box_are_in_it():
    space = gymnasium.spaces.Box(-0.3, 0.1, (1,), np.float64)
    for bound in (-0.3, 0.1):
        assert space.contains(env_action(space, np.array([bound], np.float32)))


@pytest.mark.usefixtures("lift")
def test_episodes_hold_what_is_seen_and_what_is_recorded(tmp_path):
    collect(LIFT, tmp_path / "raw", CollectConfig(episodes=1, seed=3, workers=1))
    episode = load_episode(tmp_path / "raw" / "episode-000003.npz")
    frames, actions = episode["frames"], episode["actions"]
    assert frames.shape[1:] == (64, 64, 3)
    assert set(np.unique(frames)) == {9, 250}
    rows = frames[:, :, 0, 0].argmax(axis=1)
    moves = np.array([1, 0, -1])[actions]  # the action taken in a frame leads to the next one
    np.testing.assert_array_equal(np.diff(rows), moves[:-1])
    assert rows[0] == 29  # row 32 of the camera, 3 cut off above

    recording = replace(LIFT, record=lambda env, _: {"row": env.unwrapped.row})
    again = record_episode(recording.open(), CollectConfig(), 3)
    np.testing.assert_array_equal(again["row"], np.cumsum(moves))
    np.testing.assert_array_equal(again["actions"], actions)


@pytest.mark.usefixtures("lift")
def test_a_controller_and_plans_are_evaluated_in_another_environment(tiny_bundle, tmp_path):
    recipe = resolve(RECIPE, probe(RECIPE))
    workspace = Workspace(tmp_path / "run", recipe.memory)
    workspace.controller.mkdir(parents=True)
    workspace.draft.symlink_to(tiny_bundle)
    hover = LinearPolicy(np.zeros((3, 12), np.float32), np.array([0, 1, 0], np.float32))
    save_policy(hover, workspace.controller / "controller.npz")
    stages.evaluate(recipe, workspace)
    report = read_json(workspace.evaluation, default=None)
    assert report["real"]["controller"] == report["real"]["nothing"]
    assert report["real"]["controller"]["mean"] == 10.0
    assert report["real"]["plan"]["episodes"] == 1
    assert report["episodes"]["controller"] == {"returns": [10.0, 10.0], "lengths": [20, 20]}
    assert report["dream"]["1.0"]["episodes"] == 2


def test_the_manifest_says_how_the_entry_cuts_its_frames(tiny_models):
    spec = world_spec("lift", LIFT, tiny_models[1], constant_reward=0.5)
    assert (spec.observation, spec.action_space) == (LIFT.observation, LIFT.action_space)


@pytest.mark.usefixtures("lift")
def test_episodes_depend_on_their_seed_alone():
    env = LIFT.open()

    def actions(seed):
        return tuple(record_episode(env, CollectConfig(), seed)["actions"].tolist())

    assert actions(1) == actions(1)
    assert len({actions(seed) for seed in range(8)}) > 2
