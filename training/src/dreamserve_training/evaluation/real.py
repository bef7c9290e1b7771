"""Evaluate a controller, plans, and agents that ignore observations, in the real environment.

dreamserve-train evaluate takecover --out runs/takecover
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamserve_training.data.agents import Agent, BlindAgent
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.data.playing import steps_of
from dreamserve_training.data.policies import Policy as Actions
from dreamserve_training.data.policies import random_actions, repeated_sequence
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import worker_world
from dreamserve_training.envs import EnvSpec, RealEnv
from dreamserve_training.evaluation.dreaming import AverageAgent, DreamingAgent, PlanningAgent
from dreamserve_training.evaluation.figures import deviation, mean_figures, rounded
from dreamserve_training.models.controller import Policy
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.signals import stoppable

CONTROLLER, RANDOM, DREAMS_ONLY = "controller", "random", "dreams only"
# agents that see, in part or wholly; the second is C before it learned in reality
SIGHTED = (CONTROLLER, DREAMS_ONLY, "vision cut", "average seen", "plan")
AGENTS = (*SIGHTED, RANDOM, "as collected")  # a recipe's baselines have other names


class EpisodeResults(NamedTuple):
    """An agent's returns and lengths, one entry per episode."""

    returns: list[float]
    lengths: list[int]  # steps

    def summary(self, limit: int) -> dict[str, float | None]:
        """Return statistics of the returns, and the share of episodes of at least `limit` steps.

        `std` and `standard_error` of one episode are None.
        """
        values = np.asarray(self.returns)
        mean, std = mean_figures(values), deviation(values)
        return {
            "mean": mean["mean"],
            "std": None if std is None else rounded(std),
            "standard_error": mean["standard_error"],
            "median": rounded(float(np.median(values))),
            "share_at_limit": round(float((np.asarray(self.lengths) >= limit).mean()), 3),
            "episodes": len(values),
        }


def play(env: RealEnv, agent: Agent, seed: int) -> tuple[float, int]:
    """Play one real episode; return its return and its length in steps."""
    rewards = [step.reward for step in steps_of(env, agent, seed)]
    return sum(rewards, 0.0), len(rewards)


@dataclass(frozen=True)
class AgentSpec:
    """A named agent that a worker process builds."""

    name: str
    build: Callable[[], Agent]


def blind_agents(
    spec: EnvSpec,
    collect: CollectConfig | None,
    baselines: Sequence[tuple[str, Sequence[Any]]] = (),
) -> list[AgentSpec]:
    """Return agents that ignore observations: random, as in collecting, and named baselines.

    `collect` is None of recorded data: nobody knows how that was played. A baseline repeats its
    actions, which are those of the spec's space; ValueError for others.
    """
    policies: dict[str, Actions] = {RANDOM: random_actions}
    if collect is not None:
        policies["as collected"] = collect.actions
    for name, actions in baselines:
        spec.action_space.check(list(actions), leading=(len(actions),))
        policies[name] = partial(repeated_sequence, actions=tuple(actions))
    return [
        AgentSpec(name, partial(BlindAgent, policy, spec.action_space))
        for name, policy in policies.items()
    ]


def controller_agents(bundle: Path, policy: Policy, temperature: float) -> list[AgentSpec]:
    """Return the controller and its blind twins.

    `vision cut` sees the first observation only and dreams on from it; `average seen` is shown the
    mean latent of the bank in place of every observation.
    """
    bundle = bundle.resolve()  # workers have another working directory
    build = partial(_dreaming, bundle, policy)
    return [
        AgentSpec(CONTROLLER, partial(build, DreamingAgent, True, temperature)),
        AgentSpec("vision cut", partial(build, DreamingAgent, False, temperature)),
        AgentSpec("average seen", partial(build, AverageAgent, True, temperature)),
    ]


def planning_agent(bundle: Path, fields: Mapping[str, Any]) -> AgentSpec:
    """Return an agent that acts by /plan, with these fields."""
    return AgentSpec("plan", partial(_planning, bundle.resolve(), dict(fields)))


def _planning(bundle: Path, fields: Mapping[str, Any]) -> Agent:
    return PlanningAgent(worker_world(bundle), fields)


def _dreaming(
    bundle: Path, policy: Policy, kind: type[DreamingAgent], vision: bool, temperature: float
) -> Agent:
    return kind(worker_world(bundle), policy, vision, temperature)


def _play_one(spec: EnvSpec, agent: AgentSpec, seed: int) -> tuple[float, int]:
    return play(worker_env(spec), agent.build(), seed)


def compare_agents(
    spec: EnvSpec,
    agents: Sequence[AgentSpec],
    seeds: Sequence[int],
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    keep: Callable[[str, EpisodeResults], None] = lambda name, results: None,
) -> dict[str, EpisodeResults]:
    """Return every agent's results, by name, over the same real episodes, one per seed.

    Calls `progress(done, total)` first, and after each episode; `keep` is given an agent's results
    as soon as it has played.
    """
    total = len(agents) * len(seeds)
    progress(0, total)
    with stoppable(), worker_pool(workers) as pool:
        jobs = {
            agent.name: [pool.submit(_play_one, spec, agent, seed) for seed in seeds]
            for agent in agents
        }
        results: dict[str, EpisodeResults] = {}
        owner = {job: name for name, pending in jobs.items() for job in pending}
        left = dict.fromkeys(jobs, len(seeds))
        for done, job in enumerate(as_completed(owner), 1):
            job.result()  # raises the worker's exception
            name = owner[job]
            left[name] -= 1
            if left[name] == 0:
                played = (each.result() for each in jobs[name])
                returns, lengths = zip(*played, strict=True)
                results[name] = EpisodeResults(list(returns), list(lengths))
                keep(name, results[name])
            progress(done, total)
    return {name: results[name] for name in jobs}
