"""An environment is an entry: a new one works in collection and evaluation."""

import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from dreamserve_training import stages
from dreamserve_training.data.collect import CollectConfig, collect, record_episode
from dreamserve_training.data.episodes import load_episode
from dreamserve_training.envs import TAKE_COVER, EnvSpec, MissingEnvironmentError
from dreamserve_training.evaluation.real import EpisodeResults, blind_agents, compare_agents
from dreamserve_training.export import world_spec
from dreamserve_training.models.controller import LinearPolicy, save_policy
from dreamserve_training.recipe import EvaluateConfig, Workspace, load_recipe, read_json

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
LIFT = EnvSpec(
    env_id="Lift-v0",
    action_names=("sink", "hover", "rise"),
    frame_shape=(70, 90, 3),
    crop=(3, 67, 10, 74),
    size=(64, 64),
    max_episode_steps=20,
    module="lift_game",
    frame_key="eye",
    idle="hover",
    opposed=("rise", "sink"),
)


@pytest.fixture
def lift(tmp_path, monkeypatch):
    """Put the game's module on the path of this process and its workers."""
    (tmp_path / "lift_game.py").write_text(GAME)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("lift_game", None)
    gymnasium.registry.pop("Lift-v0", None)


def names(agents):
    return [agent.name for agent in agents]


def test_blind_agents_are_those_that_make_sense_in_the_environment():
    sweeping = blind_agents(LIFT, sweeps=(3, 4))
    assert names(sweeping) == ["random", "sticky random", "nothing", "sweep 3", "sweep 4"]
    constant = blind_agents(replace(LIFT, opposed=None), sweeps=(3, 4))
    assert names(constant)[2:] == ["nothing", "always sink", "always rise"]
    busy = blind_agents(replace(LIFT, opposed=None, idle=None), sweeps=())
    assert names(busy)[2:] == ["always sink", "always hover", "always rise"]


def test_an_entry_whose_actions_do_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"Lift-v0: \['fall'\] are not among"):
        replace(LIFT, opposed=("rise", "fall"))


def test_an_environment_that_is_not_installed_says_how_to_install_it():
    with pytest.raises(MissingEnvironmentError, match=r"needs no_such_game: pip .*\[doom\]"):
        replace(LIFT, module="no_such_game", extra="doom").make()


@pytest.mark.usefixtures("lift")
def test_blind_agents_earn_what_their_actions_earn():
    agents = blind_agents(LIFT, sweeps=(3,)) + blind_agents(replace(LIFT, opposed=None), ())[-1:]
    results = compare_agents(LIFT, agents, seeds=[1, 2], workers=1)
    assert results["nothing"] == results["sweep 3"] == EpisodeResults([10.0] * 2, [20] * 2)
    assert results["always rise"] == EpisodeResults([2.5] * 2, [5] * 2)
    # the limit is one of steps, whatever a step earns
    assert results["nothing"].summary(limit=20)["share_at_limit"] == 1.0
    assert results["always rise"].summary(limit=20)["share_at_limit"] == 0.0


@pytest.mark.usefixtures("lift")
def test_episodes_of_another_environment_hold_what_its_entry_says_is_seen(tmp_path):
    collect(LIFT, tmp_path / "raw", CollectConfig(episodes=1, seed=3, workers=1))
    episode = load_episode(tmp_path / "raw" / "episode-000003.npz")
    frames, actions = episode["frames"], episode["actions"]
    assert frames.shape[1:] == (64, 64, 3)
    assert set(np.unique(frames)) == {9, 250}
    rows = frames[:, :, 0, 0].argmax(axis=1)
    moves = np.array([1, 0, -1])[actions]  # the action taken in a frame leads to the next one
    np.testing.assert_array_equal(np.diff(rows), moves[:-1])
    assert rows[0] == 29  # row 32 of the camera, 3 cut off above
    assert np.isnan(episode["health"]).all()
    assert np.isfinite(TAKE_COVER.health_of({"gamevariables": [70.0]}))


@pytest.mark.usefixtures("lift")
def test_a_controller_is_evaluated_in_another_environment(tiny_bundle, tmp_path):
    recipe = replace(
        load_recipe("takecover"),
        env=LIFT,
        evaluate=EvaluateConfig(episodes=2, sweeps=(3,), dream_temperatures=(1.0,), workers=1),
    )
    workspace = Workspace(tmp_path / "run", recipe.memory)
    workspace.controller.mkdir(parents=True)
    workspace.draft.symlink_to(tiny_bundle)
    hover = LinearPolicy(np.zeros((3, 12), np.float32), np.array([0, 1, 0], np.float32))
    save_policy(hover, workspace.controller / "controller.npz")
    stages.evaluate(recipe, workspace)
    report = read_json(workspace.evaluation, default=None)
    assert report["real"]["controller"] == report["real"]["nothing"]
    assert report["real"]["controller"]["mean"] == 10.0
    assert report["episodes"]["controller"] == {"returns": [10.0, 10.0], "lengths": [20, 20]}
    assert report["dream"]["1.0"]["episodes"] == 2


def test_the_manifest_says_how_the_entry_cuts_its_frames(tiny_models):
    frame = world_spec("lift", LIFT, tiny_models[1], constant_reward=0.5).frame
    crop = frame.crop
    assert (crop.top, crop.bottom, crop.left, crop.right) == LIFT.crop
    assert (frame.source_shape, frame.shape) == (LIFT.frame_shape, (*LIFT.size, 3))


@pytest.mark.usefixtures("lift")
def test_episodes_depend_on_their_seed_alone():
    env = LIFT.make()

    def actions(seed):
        return tuple(record_episode(env, LIFT, seed)["actions"].tolist())

    assert actions(1) == actions(1)
    assert len({actions(seed) for seed in range(8)}) > 2
