"""A run notices what has changed since: its environment, its stages' files, its bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training import stages
from dreamserve_training.comparison import contestant
from dreamserve_training.data import collect as collecting
from dreamserve_training.data.digests import file_hash
from dreamserve_training.data.episodes import episode_paths, save_episode
from dreamserve_training.envs import EnvSpec, MissingEnvironmentError, make_env
from dreamserve_training.files import remove_partials
from dreamserve_training.models.controller import LinearPolicy, save_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import Probed, probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.stage_inputs import INPUTS, critic_path, made_of
from dreamserve_training.tasks import tasks_of
from dreamserve_training.workspace import Workspace, write_json

PROBED = Probed(
    EnvSpec(
        env="Game-v0",
        env_id="Game-v0",
        observation=VectorSpec(names=("height",), low=(0.0,), high=(1.0,)),
        action_space=DiscreteSpace(n=2, names=("a", "b")),
        max_episode_steps=50,
    ),
    mean_steps=20.0,
)
RECIPE = Recipe(env="Game-v0", name="game", collect={"episodes": 8})
GAME = """
import gymnasium
import numpy as np
from dreamserve_training.recipe import Recipe


class Game(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, ({size},), np.float32)
    action_space = gymnasium.spaces.Discrete({actions})

    def reset(self, *, seed=None, options=None):
        return np.zeros({size}, np.float32), {{}}

    def step(self, action):
        return np.zeros({size}, np.float32), 1.0, False, True, {{}}


RECIPE = Recipe(env=Game, max_episode_steps=5, {more})
"""


def write(folder: Path, size: int = 2, actions: int = 2, more: str = "") -> Recipe:
    folder.mkdir(exist_ok=True)
    path = folder / f"game_{size}_{actions}_{len(more)}.py"
    path.write_text(GAME.format(size=size, actions=actions, more=more))
    return replace(load_recipe(str(path)), name="game")


@pytest.fixture
def no_games(inline, monkeypatch):
    """Collect empty episodes, in this process."""

    def record(spec, directory, config, seed):
        save_episode(directory / f"episode-{seed:06d}.npz", {"actions": np.zeros(3, np.int64)})

    monkeypatch.setattr(collecting, "_collect_one", record)


def test_an_environment_whose_code_has_changed_is_asked_again(tmp_path):
    workspace = Workspace(tmp_path / "run", "mdnrnn")
    workspace.root.mkdir()
    first = probe(write(tmp_path / "recipes"), workspace)
    assert first.env.action_space.n == 2
    assert probe(write(tmp_path / "recipes", actions=3), workspace).env.action_space.n == 3
    assert len(probe(write(tmp_path / "recipes", size=3), workspace).env.observation.names) == 3


def test_how_it_is_played_decides_how_long_episodes_are(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    assert probe(replace(RECIPE, env="CartPole-v1"), workspace).mean_steps > 5
    short = replace(RECIPE, env="CartPole-v1", collect={"max_steps": 2})
    assert probe(short, workspace).mean_steps == 2
    assert probe(replace(short, collect={"max_steps": 2, "episodes": 9}), workspace).mean_steps == 2


def test_to_start_over_asks_again_where_the_environment_is_there(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path, "mdnrnn")
    asked = []

    def make(env, install):
        asked.append(env)
        return make_env(env, install)

    monkeypatch.setattr("dreamserve_training.probe.make_env", make)
    recipe = replace(RECIPE, env="CartPole-v1")
    first = probe(recipe, workspace)
    assert probe(recipe, workspace) == first
    assert len(asked) == 1
    again = replace(workspace, restart=True)
    assert probe(recipe, again) == first
    assert len(asked) == 2

    def missing(env, install):
        raise MissingEnvironmentError("CartPole-v1")

    monkeypatch.setattr("dreamserve_training.probe.make_env", missing)
    assert probe(recipe, again) == first
    with pytest.raises(MissingEnvironmentError):
        probe(replace(recipe, collect={"max_steps": 3}), again)


@pytest.mark.usefixtures("no_games")
def test_held_out_episodes_never_become_data_when_the_number_of_episodes_changes(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    (few,) = resolve_passes(RECIPE, PROBED)
    (many,) = resolve_passes(replace(RECIPE, collect={"episodes": 12}), PROBED)
    stages.collect(few, workspace)
    with pytest.raises(MismatchError, match="seed was 8 and is now 12"):
        stages.collect(many, workspace)
    stages.collect(few, workspace)
    names = [
        {path.name for path in episode_paths(workspace.episodes(split))}
        for split in ("train", "holdout")
    ]
    assert (len(names[0]), len(names[1]), names[0] & names[1]) == (8, 4, set())


def test_a_stage_that_was_stopped_is_not_done_though_its_settings_are_set_back(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    with made_of(workspace, "collect", {"episodes": 8}):
        pass

    def stop():
        with made_of(workspace, "collect", {"episodes": 12}):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    with made_of(workspace, "collect", {"episodes": 8}, workspace.root) as missing:
        assert missing


def test_a_stage_whose_new_settings_are_refused_stays_done(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    with made_of(workspace, "vae", {"lr": 1}):
        pass
    with pytest.raises(MismatchError), made_of(workspace, "vae", {"lr": 2}):
        raise MismatchError("lr was 1 and is now 2")
    with made_of(workspace, "vae", {"lr": 1}, workspace.root) as missing:
        assert not missing


@pytest.mark.parametrize(
    ("stage", "change"),
    [("memory", {"constant_reward": 1.0}), ("export", {"name": "other"})],
)
def test_a_stage_is_made_of_all_that_decides_what_it_makes(tmp_path, stage, change):
    workspace = Workspace(tmp_path, "mdnrnn")
    one, other = (resolve_passes(each, PROBED)[0] for each in (RECIPE, replace(RECIPE, **change)))
    assert INPUTS[stage](one, workspace) != INPUTS[stage](other, workspace)


@pytest.mark.parametrize("stage", ["evaluate", "finetune", "collect"])
def test_what_plays_is_made_of_the_environments_code(tmp_path, stage):
    workspace = Workspace(tmp_path / "run", "mdnrnn")
    recipes = [write(tmp_path / "recipes", more=more) for more in ("", "policy=lambda rng, _: [0]")]
    resolved = [resolve_passes(replace(each, finetune={}), probe(each))[0] for each in recipes]
    one, other = (INPUTS[stage](each, workspace)["code"] for each in resolved)
    assert one.keys() < other.keys()


def test_an_export_is_done_only_while_its_bundle_is_there(tmp_path):
    passes, workspace = resolve_passes(RECIPE, PROBED), Workspace(tmp_path / "run", "mdnrnn")
    bundle = tmp_path / "bundle"

    def is_done(at: Path) -> bool:
        return tasks_of(passes, workspace, at)[-1].is_done()

    workspace.root.mkdir()
    with made_of(workspace, "export", INPUTS["export"](passes[0], workspace)):
        write_json(workspace.exported, "one")
    assert not is_done(bundle)
    bundle.mkdir()
    write_json(bundle / "manifest.json", {"version": "one"})
    assert is_done(bundle)
    assert not is_done(tmp_path / "elsewhere")
    write_json(bundle / "manifest.json", {"version": "another run's"})
    assert not is_done(bundle)


def test_the_critic_that_goes_on_is_that_of_the_present_options(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    for folder in (workspace.controller, workspace.controller / "seed-3"):
        folder.mkdir(parents=True)
        (folder / "ppo_last.ckpt").touch()

    def critic(**controller):
        (recipe,) = resolve_passes(replace(RECIPE, controller=controller), PROBED)
        return critic_path(recipe, workspace)

    assert critic() is None
    assert critic(method="ppo") == workspace.controller / "ppo_last.ckpt"
    several = critic(method="ppo", learnings=2, seed=3)
    assert several == workspace.controller / "seed-3" / "ppo_last.ckpt"


def test_a_controller_that_learned_on_is_a_runs_last_one_until_c_is_trained_again(tmp_path):
    run = Workspace(tmp_path, "mdnrnn")
    write_json(run.recipe, {"iterations": 0, "finetune": True})
    run.inputs("controller").parent.mkdir()
    write_json(run.inputs("controller"), {})
    dreamed, learned, again = (
        LinearPolicy(np.ones((2, 3), np.float32), np.full(2, n, np.float32)) for n in range(3)
    )
    save_policy(dreamed, run.controller / "controller.npz")
    save_policy(learned, run.finetuned / "controller.npz")
    assert contestant(tmp_path).policy.bias[0] == 0, "it was not finished"
    policy = file_hash(run.controller / "controller.npz")
    write_json(run.inputs("finetune"), {"policy": policy})
    assert contestant(tmp_path).policy.bias[0] == 1
    write_json(run.recipe, {"iterations": 0, "finetune": False})
    assert contestant(tmp_path).policy.bias[0] == 0, "the recipe has no such stage any more"
    write_json(run.recipe, {"iterations": 0, "finetune": True})
    save_policy(again, run.controller / "controller.npz")
    assert contestant(tmp_path).policy.bias[0] == 2


def test_only_what_a_killed_process_was_writing_is_removed(tmp_path):
    ours = tmp_path / f"a.npz.{2**22 + 1}.partial"  # no process has such a number
    imported = tmp_path / "data.partial"
    imported.mkdir()
    kept = [imported / "episode-000000.npz", tmp_path / "a.npz.1.partial", tmp_path / "x.partial"]
    for path in (ours, *kept):
        path.touch()
    remove_partials(tmp_path)
    assert not ours.exists()
    assert all(path.exists() for path in kept)
