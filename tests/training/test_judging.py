"""Who plays when a pass is evaluated, what is kept, and what is told of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.training.pole import PROBED, RECIPE

from dreamserve_training import judging
from dreamserve_training.data.disk import Data
from dreamserve_training.evaluation.differences import best_blind, controller_differences, paired
from dreamserve_training.evaluation.real import EpisodeResults, blind_agents
from dreamserve_training.origin import origin_of
from dreamserve_training.passes import resolve_passes
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.runs.records import describe
from dreamserve_training.stage_inputs import INPUTS
from dreamserve_training.workspace import Workspace, write_json


def test_differences_are_paired_by_seed():
    base = np.random.default_rng(0).normal(500, 300, 40)
    one = EpisodeResults((base + 50).tolist(), [1] * 40)
    other = EpisodeResults((base[:30] + np.arange(30) % 2).tolist(), [1] * 30)
    figures = paired(one, other)
    assert figures["episodes"] == 30
    assert figures["mean"] == pytest.approx(49.5)
    assert figures["standard_error"] == pytest.approx(0.5 / 29**0.5, abs=0.01)
    assert figures["ratio"] == pytest.approx(
        (base[:30].mean() + 50) / (base[:30].mean() + 0.5), 0.01
    )


def test_the_controller_is_compared_with_its_twins_chance_and_the_best_blind_agent():
    means = {
        "random": 2,
        "as collected": 3,
        "sweep": 7,
        "controller": 9,
        "vision cut": 5,
        "plan": 8,
    }
    results = {name: EpisodeResults([mean, mean], [1, 1]) for name, mean in means.items()}
    assert {name: each["mean"] for name, each in controller_differences(results).items()} == {
        "controller - vision cut": 4,
        "controller - random": 7,
        "controller - sweep": 2,
    }
    results["random"] = EpisodeResults([8, 8], [1, 1])
    assert best_blind(results) == "random"
    assert list(controller_differences(results)) == [
        "controller - vision cut",
        "controller - random",
    ]


@pytest.fixture
def games(monkeypatch):
    """Play no games; return the names of the agents that would have played."""
    asked = []

    def compare(env, agents, seeds, workers, progress, keep):
        for agent in agents:
            asked.append((agent.name, len(seeds)))
            keep(agent.name, EpisodeResults([float(len(asked))] * len(seeds), [1] * len(seeds)))

    monkeypatch.setattr(judging, "compare_agents", compare)
    monkeypatch.setattr(judging, "load_policy", lambda path: None)
    monkeypatch.setattr(judging, "_dreamed", lambda *others: {"1.0": {"mean": 40.0}})
    return asked


def test_blind_agents_play_in_the_last_pass_and_an_interrupted_evaluation_goes_on(games, tmp_path):
    evaluated = {"episodes": 4, "plan_episodes": 1}
    recipe = replace(RECIPE, evaluate=evaluated, iterations=RECIPE.iterations[:1])
    passes = resolve_passes(recipe, PROBED)
    first = Workspace(tmp_path, "mdnrnn")
    second = first.next()
    third = second.next()
    for each in (first, second, third):
        each.controller.mkdir(parents=True)
        (each.controller / "controller.npz").touch()
    sighted, blind = (
        ["controller", "vision cut", "average seen"],
        ["random", "as collected", "sway"],
    )
    judging.evaluate(passes[0], first)
    assert games == [(name, 4) for name in sighted]

    games.clear()
    first.played("vision cut").unlink()
    judging.evaluate(passes[0], first)
    assert games == [("vision cut", 4)]

    games.clear()
    judging.evaluate(passes[1], second)
    assert games == [*((name, 4) for name in (*sighted, *blind)), ("plan", 1)]
    figures = judging.pass_figures(second)
    assert list(figures) == ["first pass", "iteration 1"]
    assert figures["first pass"]["mean"] == 1.0
    assert figures["iteration 1"]["best blind (sway)"] == 6.0
    assert figures["iteration 1"]["dream at T = 1.0"] == 40.0

    games.clear()
    judging.evaluate(resolve_passes(replace(RECIPE, evaluate=evaluated), PROBED)[2], third)
    assert [name for name, _ in games] == [*sighted, "plan"], "blind agents play again"

    games.clear()
    other = replace(recipe, evaluate={**evaluated, "seed": 3_000_000})
    judging.evaluate(resolve_passes(other, PROBED)[1], second)
    assert [name for name, _ in games] == [*sighted, *blind, "plan"]


def test_only_agents_that_play_otherwise_than_before_play_again(games, tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    workspace.controller.mkdir()
    (workspace.controller / "controller.npz").write_bytes(b"1")
    sighted = ["controller", "vision cut", "average seen"]

    def play_again(**evaluated):
        games.clear()
        evaluated = {"episodes": 4, "plan_episodes": 1, **evaluated}
        recipe = replace(RECIPE, evaluate=evaluated, iterations=())
        judging.evaluate(resolve_passes(recipe, PROBED)[0], workspace)
        return [name for name, _ in games]

    assert play_again() == [*sighted, "random", "as collected", "sway", "plan"]
    assert play_again(plan={"horizon": 3}) == ["plan"]
    assert play_again(plan={"horizon": 3}, dream_temperatures=(1.0,)) == []
    (workspace.controller / "controller.npz").write_bytes(b"2")
    assert play_again(plan={"horizon": 3}) == sighted


def test_a_pass_that_has_become_the_last_is_evaluated_again_with_all_agents(tmp_path):
    before, after = (
        resolve_passes(replace(RECIPE, iterations=iterations), PROBED)[0]
        for iterations in (RECIPE.iterations, ())
    )
    workspace = Workspace(tmp_path, "mdnrnn")
    inputs = [describe(INPUTS["evaluate"](each, workspace)) for each in (before, after)]
    assert inputs[0] != inputs[1]


def test_more_plans_than_episodes_are_refused():
    with pytest.raises(RecipeError, match="plan_episodes: 5 is more than the 2 episodes"):
        resolve_passes(replace(RECIPE, evaluate={"episodes": 2, "plan_episodes": 5}), PROBED)
    resolve_passes(replace(RECIPE, evaluate={"episodes": 2}), PROBED)


@pytest.fixture
def workspace(tmp_path):
    """Return the workspace of an iteration, with an episode file of each split and pass."""
    last = Workspace(tmp_path, "mdnrnn").next()
    for folder in (*last.all_episodes("train"), *last.all_episodes("holdout")):
        folder.mkdir(parents=True)
        np.savez(folder / "episode-0.npz", rewards=np.ones(2))
    return last


def test_recorded_data_have_no_first_seed_and_no_agent_that_plays_as_they_were_collected(workspace):
    played = resolve_passes(replace(RECIPE, iterations=()), PROBED)[0]
    recorded = replace(played, data=Data(workspace.root))
    assert "as collected" in {agent.name for agent in blind_agents(played.env, played.played_by)}
    assert [each.name for each in blind_agents(played.env, recorded.played_by)] == ["random"]
    assert "first_seed" in origin_of(played, workspace)
    assert "first_seed" not in origin_of(recorded, workspace)


def test_a_worlds_origin_has_the_options_of_every_stage(workspace):
    origin = origin_of(resolve_passes(RECIPE, PROBED)[-1], workspace)
    assert origin["evaluate"]["seed"] == 2_000_000
    assert origin["controller"]["kind"] == "ControllerConfig"
    assert origin["collect"]["episodes"] == 100
    assert {"batch_size", "sequence_length", "bank", "signals", "done_rule"} <= set(origin)
    assert json.loads(json.dumps(origin)) == origin


def test_figures_without_an_environment_are_those_of_dreams(tmp_path):
    workspace = Workspace(tmp_path, "mdnrnn")
    write_json(workspace.evaluation, {"real": {}, "episodes": {}, "dream": {"0.5": {"mean": 7.0}}})
    assert judging.pass_figures(workspace) == {"first pass": {"dream at T = 0.5": 7.0}}
