"""Evaluate C, in real episodes whose seeds nothing else uses, and in dreams.

Each agent's results are kept as soon as it has played, so an interrupted evaluation goes on. Of
each pass the controller and its twins play; in the last one blind agents and plans play, too.
"""

import logging
from dataclasses import replace
from typing import Any

from dreamserve.loading import load_world
from dreamserve_training.data.collect import code_used
from dreamserve_training.data.digests import file_hash
from dreamserve_training.dreams.policies import policy_returns
from dreamserve_training.evaluation.differences import best_blind, controller_differences
from dreamserve_training.evaluation.figures import told
from dreamserve_training.evaluation.real import (
    CONTROLLER,
    DREAMS_ONLY,
    AgentSpec,
    EpisodeResults,
    blind_agents,
    compare_agents,
    controller_agents,
    planning_agent,
)
from dreamserve_training.models.controller import Policy, load_policy
from dreamserve_training.progress import log_progress
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.runs.records import describe
from dreamserve_training.stage_inputs import Inputs, draft, policy_path
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")
Results = dict[str, EpisodeResults]


def evaluate(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Evaluate C, plans and blind agents. A recipe without an environment: in dreams only."""
    limit = recipe.env.max_episode_steps
    policy = load_policy(policy_path(recipe, workspace))
    real = {} if recipe.env.env is None else real_results(recipe, workspace, policy)
    summaries = {name: results.summary(limit) for name, results in real.items()}
    seeds = recipe.evaluate.seeds
    report = {
        "seeds": [seeds[0], seeds[-1]],
        "real": summaries,
        "differences": controller_differences(real) if real else {},
        "dream": _dreamed(recipe, workspace, policy),
        "episodes": {name: results._asdict() for name, results in real.items()},
    }
    write_json(workspace.evaluation, report)
    for name, figures in summaries.items():
        logger.info("%-14s %s", name, told(figures, digits=5))


def real_results(recipe: ResolvedRecipe, workspace: Workspace, policy: Policy) -> Results:
    """Return the results in the real environment of the controller, plans and blind agents."""
    first, config, seeds = recipe.passes()[0], recipe.evaluate, recipe.evaluate.seeds
    sighted = controller_agents(workspace.draft, policy, recipe.controller.temperature)
    if recipe.finetune is not None:
        before = load_policy(workspace.controller / "controller.npz")
        agent = controller_agents(workspace.draft, before, recipe.controller.temperature)[0]
        sighted.append(replace(agent, name=DREAMS_ONLY))
    inputs = _sighted_inputs(recipe, workspace)
    results = _played(recipe, workspace, sighted, inputs, seeds)
    if not recipe.last:
        return results
    blind = blind_agents(recipe.env, first.played_by, recipe.baselines)
    # in the first pass's folder: another iteration, on the same seeds, needs them again
    results = _played(recipe, workspace.passes()[0], blind, _blind_inputs(first), seeds) | results
    if planned := seeds[: config.plan_episodes]:
        planner = [planning_agent(workspace.draft, config.plan)]
        inputs = {"plan": config.plan, **_draft_inputs(recipe, workspace)}
        results |= _played(recipe, workspace, planner, inputs, planned)
    return results


def _sighted_inputs(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    paths = {"controller": policy_path(recipe, workspace)}
    paths |= {DREAMS_ONLY: workspace.controller / "controller.npz"} if recipe.finetune else {}
    policies = {name: file_hash(path) for name, path in paths.items()}
    temperature = {"temperature": recipe.controller.temperature}
    return {**policies, **temperature, **_draft_inputs(recipe, workspace)}


def _draft_inputs(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    return {**draft(recipe, workspace), **code_used(recipe.env, recipe.collect)}


def _blind_inputs(recipe: ResolvedRecipe) -> Inputs:
    actions = (recipe.collect.shortest, recipe.collect.longest, recipe.collect.policy)
    inputs = {"env": recipe.env, "as collected": actions, "baselines": recipe.baselines}
    return inputs | code_used(recipe.env, recipe.collect)


def _played(
    recipe: ResolvedRecipe,
    workspace: Workspace,
    agents: list[AgentSpec],
    inputs: Inputs,
    seeds: range,
) -> Results:
    """Return the agents' results on `seeds`; those that are kept and still fit are not repeated."""
    made_of = describe({"inputs": inputs, "seeds": [seeds[0], seeds[-1]]})
    kept = {agent.name: read_json(workspace.played(agent.name), default={}) for agent in agents}
    missing = [agent for agent in agents if kept[agent.name].get("made_of") != made_of]

    def keep(name: str, results: EpisodeResults) -> None:
        kept[name] = {"made_of": made_of, "results": results._asdict()}
        workspace.played(name).parent.mkdir(exist_ok=True)
        write_json(workspace.played(name), kept[name])

    if missing:
        progress = log_progress(f"evaluate {missing[0].name}, …")
        compare_agents(recipe.env, missing, seeds, recipe.evaluate.workers, progress, keep)
    return {name: EpisodeResults(**each["results"]) for name, each in kept.items()}


def _dreamed(
    recipe: ResolvedRecipe, workspace: Workspace, policy: Policy
) -> dict[str, dict[str, Any]]:
    limit, world = recipe.env.max_episode_steps, load_world(workspace.draft)
    seeds = recipe.evaluate.dream_seeds
    dreamed = {}
    for value in recipe.evaluate.dream_temperatures:
        returns, lengths = policy_returns(world, policy, seeds, value, limit)
        results = EpisodeResults(returns.tolist(), lengths.tolist())
        dreamed[str(value)] = results.summary(limit)
    return dreamed


def pass_figures(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return the figures of every pass up to this one, by its name, for the manifest."""
    return {
        "first pass" if number == 0 else f"iteration {number}": _figures(each)
        for number, each in enumerate(workspace.passes())
    }


def _figures(workspace: Workspace) -> dict[str, Any]:
    report = read_json(workspace.evaluation, default=None)
    real = report["real"]
    figures: dict[str, Any] = {}
    if real:
        figures = {name: real[CONTROLLER][name] for name in ("mean", "standard_error", "episodes")}
        results = {name: EpisodeResults(**each) for name, each in report["episodes"].items()}
        others = {"vision cut": "vision cut", "average seen": "average seen"}
        if (blind := best_blind(results)) is not None:
            others[f"best blind ({blind})"] = blind
        figures |= {title: real[name]["mean"] for title, name in others.items()}
    dreamed = {f"dream at T = {t}": each["mean"] for t, each in report["dream"].items()}
    return figures | dreamed
