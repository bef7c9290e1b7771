"""Controllers of bundles and runs play in the real environment again."""

from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve_training import comparison
from dreamserve_training.cli import app
from dreamserve_training.comparison import ComparisonConfig, compare, contestant
from dreamserve_training.evaluation.real import EpisodeResults
from dreamserve_training.models.controller import LinearPolicy, save_policy
from dreamserve_training.workspace import Workspace, write_json

GAME = """
import gymnasium
import numpy as np

from dreamserve_training.recipe import Recipe


class Game(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (240, 320, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame(), {}

    def step(self, action):
        return self._frame(), float(action == 1), False, False, {}

    def _frame(self):
        return np.full((240, 320, 3), 90, np.uint8)


RECIPE = Recipe(
    env=Game,
    crop=(40, 200, 0, 320),
    size=(64, 64),
    action_names=("noop", "right", "left"),
    max_episode_steps=5,
    baselines={"right, left": [1, 2], "right": [1]},
)
"""


def policy(action):
    return LinearPolicy(np.zeros((3, 12), np.float32), np.eye(3, dtype=np.float32)[action])


@pytest.fixture
def runs(tiny_bundle, tmp_path):
    """Return a recipe's file and two runs: of one pass, whose controller takes 1, and of two."""
    path = tmp_path / "game.py"
    path.write_text(GAME)
    one, two = tmp_path / "one", tmp_path / "two"
    for root, action in ((one, 1), (two, 1), (two / "iterations" / "1", 2)):
        root.mkdir(parents=True)
        (root / "draft").symlink_to(tiny_bundle)
        save_policy(policy(action), root / "controller" / "controller.npz")
        (root / "inputs").mkdir()
        write_json(Workspace(root, "").inputs("controller"), {})
    for root, iterations in ((one, 0), (two, 1)):
        write_json(Workspace(root, "").recipe, {"iterations": iterations, "finetune": False})
    return str(path), one, two


def test_the_last_controller_of_a_run_is_taken(runs):
    _, one, two = runs
    assert contestant(one).policy.bias.tolist() == [0, 1, 0]
    assert contestant(two).policy.bias.tolist() == [0, 0, 1]
    assert contestant(two).bundle == two / "iterations" / "1" / "draft"


def test_iterations_that_the_recipe_has_no_longer_are_left_alone(runs):
    _, _, two = runs
    write_json(Workspace(two, "").recipe, {"iterations": 0, "finetune": False})
    assert contestant(two).bundle == two / "draft"
    assert contestant(two).policy.bias.tolist() == [0, 1, 0]


def test_a_controller_of_an_unfinished_stage_is_not_played_in_the_world_of_the_next_one(runs):
    _, _, two = runs
    Workspace(two / "iterations" / "1", "").inputs("controller").unlink()
    assert contestant(two).policy.bias.tolist() == [0, 1, 0], "the first pass's"


def test_folders_without_a_controller_are_refused(runs, tiny_bundle, tmp_path):
    with pytest.raises(ValueError, match="neither a bundle nor a run"):
        contestant(tmp_path)
    with pytest.raises(ValueError, match="the bundle has no"):
        contestant(tiny_bundle)
    _, one, _ = runs
    with pytest.raises(ValueError, match=r"names no recipe.*--recipe"):
        compare(one, None, None, ComparisonConfig())


def test_controllers_of_two_runs_play_the_same_episodes(runs):
    recipe, one, two = runs
    asked = ["--recipe", recipe, "--episodes", "2", "--workers", "1"]
    result = CliRunner().invoke(app, ["evaluate", str(one), "--against", str(two), *asked])
    assert result.exit_code == 0, result.output
    lines = [line.replace("  (", " (").rsplit("  ", 1) for line in result.output.splitlines()]
    figures = {line[0].strip(): line[-1] for line in lines}
    assert figures["controller"] == "5 ± 0"
    assert figures["right, left"] == "3 ± 0"
    assert figures[f"controller of {two}"] == "0 ± 0"
    assert figures["controller - vision cut"] == "0 ± 0 (1 times)"
    assert figures["controller - right"] == "0 ± 0 (1 times)"
    assert figures[f"controller - controller of {two}"] == "5 ± 0"


def test_the_other_controller_is_not_taken_for_an_agent_without_eyes(runs):
    recipe, one, two = runs
    text = compare(two, recipe, one, ComparisonConfig(episodes=2, workers=1))
    assert "controller - right  " in text  # the best of those that see nothing; `one` earns as much
    assert text.count(f"controller - controller of {one}") == 1


def test_one_episode_is_told_as_one():
    text = comparison.report({"controller": EpisodeResults([5.0], [5])}, ["controller"])
    assert text.splitlines()[1] == "controller  5 (one episode)"


def test_a_controller_alone_is_played_alone_on_all_cores(runs, monkeypatch):
    recipe, one, _ = runs
    played = []

    def compare_agents(env, agents, seeds, workers, progress):
        played.extend((agent.name, seeds[0], workers) for agent in agents)
        return {agent.name: EpisodeResults([1.0, 3.0], [1, 3]) for agent in agents}

    monkeypatch.setattr(comparison, "compare_agents", compare_agents)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    text = compare(one, recipe, None, ComparisonConfig(alone=True))
    asked = ["evaluate", str(one), "--recipe", recipe, "--alone"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert played == [("controller", 4_000_000, 3)] * 2
    assert text.splitlines()[1:] == ["controller  2 ± 1"]


FOLDERS = ["--against x", "--episodes 400", "--seed 7", "--workers 1", "--alone", "--recipe x"]
STAGES = ["--out x", "--restart", "--iteration 0"]


@pytest.mark.parametrize("option", [*FOLDERS, *STAGES])
def test_an_option_that_does_not_apply_is_refused(option, runs):
    recipe, one, _ = runs
    what = recipe if option in FOLDERS else str(one)
    result = CliRunner().invoke(app, ["evaluate", what, *option.split()])
    assert result.exit_code == 2
    kind = "folder of a bundle or run" if option in FOLDERS else "recipe"
    told = " ".join(result.output.replace("│", " ").split())
    assert f"{option.split()[0]}: for a {kind} only" in told


def test_a_world_of_a_recipe_elsewhere_is_asked_for_by_its_file(runs, monkeypatch):
    _, one, _ = runs
    manifest = SimpleNamespace(manifest=SimpleNamespace(origin={"recipe": "pole"}))
    monkeypatch.setattr(comparison, "load_bundle", lambda folder: manifest)
    with pytest.raises(ValueError, match=r"its recipe, 'pole', is a file.*--recipe \./pole\.py"):
        compare(one, None, None, ComparisonConfig())


def test_other_files_among_the_iterations_are_none(runs):
    _, _, two = runs
    (two / "iterations" / ".DS_Store").touch()
    (two / "iterations" / "old").mkdir()
    assert contestant(two).bundle == two / "iterations" / "1" / "draft"


def test_a_bundle_of_another_environment_is_refused(runs, tmp_path):
    _, one, _ = runs
    other = tmp_path / "other.py"
    other.write_text(GAME.replace("crop=(40, 200, 0, 320),", "crop=(0, 240, 0, 320),"))
    with pytest.raises(ValueError, match="its observation is not that of Game"):
        compare(one, str(other), None, ComparisonConfig(episodes=1))
    other = tmp_path / "another.py"  # a file is loaded once
    other.write_text(GAME.replace('"noop"', '"stay"'))
    with pytest.raises(ValueError, match="its action_space is not that of Game"):
        compare(one, str(other), None, ComparisonConfig(episodes=1))
