"""Evaluate a controller, plans, and agents that ignore observations, in the real environment.

dreamserve-train evaluate takecover --out runs/takecover
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve.engine.pixels import to_numbers
from dreamserve.engine.world import World
from dreamserve.local import DreamBatch, LocalClient
from dreamserve.observations import FrameSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.data.agents import Agent, BlindAgent, Exploration, ExploringAgent
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.data.policies import Policy as Actions
from dreamserve_training.data.policies import random_actions, repeated_sequence
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import features, worker_world
from dreamserve_training.envs import EnvSpec, Observed, RealEnv
from dreamserve_training.models.controller import Policy, load_policy
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.signals import stoppable

Float32 = npt.NDArray[np.float32]
CONTROLLER, RANDOM = "controller", "random"  # agents that are compared with others by name


def latent_of(world: World, observation: Observed) -> Float32:
    """Return the latent (1, Z) that one real observation stands for."""
    spec, batch = world.spec.observation, observation[None]
    return world.spec.head.mode(world.backend.encode(to_numbers(spec, batch)))


@dataclass
class DreamingAgent:
    """A controller on the state of a dream that every real observation corrects.

    Without `vision` it sees the first observation only and then acts on its own dream at
    `temperature`, which shows how much of its return depends on what it sees.
    """

    world: World
    policy: Policy
    vision: bool = True
    temperature: float = 1.0

    def begin(self, observation: Observed, seed: int) -> None:
        """Start the dream at the real observation."""
        start = latent_of(self.world, observation)
        self.dreams = DreamBatch(self.world, [seed], self.temperature, starts=start)

    def act(self) -> Any:
        """Return the controller's action."""
        space, scores = self.world.spec.action_space, self._scores()
        return space.single(space.from_scores(scores, np.isfinite(scores).all(axis=1))[0])

    def _scores(self) -> Float32:
        return self.policy.scores(features(self.dreams, self.policy.inputs))

    def see(self, action: Any, observation: Observed) -> None:
        """Step the dream with `action`, and correct it to the real observation."""
        self.dreams.step(np.asarray(action)[None])
        if self.vision:
            self.dreams.correct(latent_of(self.world, observation))


@dataclass
class AverageAgent(DreamingAgent):
    """A controller that sees, in place of every real observation, the mean latent of the bank."""

    def begin(self, observation: Observed, seed: int) -> None:
        """Start the dream at the mean latent, whatever is observed."""
        super().begin(observation, seed)
        spec = self.world.spec
        posterior = (self.world.bank[name] for name in spec.head.posterior(spec.latent_size))
        self._average = spec.head.mode(tuple(posterior)).mean(axis=0, keepdims=True)
        self.dreams.correct(self._average)

    def see(self, action: Any, observation: Observed) -> None:
        """Step the dream with `action`, and show the mean latent again."""
        self.dreams.step(np.asarray(action)[None])
        self.dreams.correct(self._average)


@dataclass
class PlanningAgent:
    """Takes the first action of a plan of the dream, which every real observation corrects."""

    world: World
    fields: Mapping[str, Any] = field(default_factory=dict)  # of /plan

    def begin(self, observation: Observed, seed: int) -> None:
        """Start a session at the real observation."""
        self.client = LocalClient(self.world, capacity=1)
        key = "frames" if isinstance(self.world.spec.observation, FrameSpec) else "vectors"
        start = {key: observation[None]}
        self.session_id = self.client.reset(seed=seed, start=start).session_id

    def act(self) -> Any:
        """Return the first action of a plan."""
        return self.client.plan(self.session_id, **self.fields).action

    def see(self, action: Any, observation: Observed) -> None:
        """Step the dream with `action`, corrected to the real observation."""
        seen = "observation" if isinstance(self.world.spec.observation, FrameSpec) else "vector"
        self.client.step(self.session_id, action, **{seen: observation})


class EpisodeResults(NamedTuple):
    """An agent's returns and lengths, one entry per episode."""

    returns: list[float]
    lengths: list[int]  # steps

    def summary(self, limit: int) -> dict[str, float]:
        """Return statistics of the returns, and the share of episodes of at least `limit` steps."""
        values = np.asarray(self.returns)
        std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return {
            "mean": round(float(values.mean()), 2),
            "std": round(std, 2),
            "standard_error": round(std / len(values) ** 0.5, 2),
            "median": round(float(np.median(values)), 2),
            "share_at_limit": round(float((np.asarray(self.lengths) >= limit).mean()), 3),
            "episodes": len(values),
        }


def play(env: RealEnv, agent: Agent, seed: int) -> tuple[float, int]:
    """Play one real episode; return its return and its length in steps."""
    observation: Any = env.reset(seed)
    agent.begin(observation, seed)
    total, steps = 0.0, 0
    while steps < env.spec.max_episode_steps:
        action = agent.act()
        observation, reward, terminated, truncated, _ = env.step(action)
        total, steps = total + reward, steps + 1
        if terminated or truncated:
            break
        agent.see(action, observation)
    return total, steps


@dataclass(frozen=True)
class AgentSpec:
    """A named agent that a worker process builds."""

    name: str
    build: Callable[[], Agent]


def blind_agents(
    spec: EnvSpec, collect: CollectConfig, baselines: Sequence[tuple[str, Sequence[Any]]] = ()
) -> list[AgentSpec]:
    """Return agents that ignore observations: random, as in collecting, and named baselines.

    A baseline repeats its actions, which are those of the spec's space; ValueError for others.
    """
    policies: dict[str, Actions] = {RANDOM: random_actions, "as collected": collect.actions}
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


@dataclass(frozen=True)
class ControllerPlayer:
    """Collects episodes: a controller of a bundle, with vision, which explores.

    `made_of` says in the record of a collection which bundle and policy these are; a run's folder
    may be moved, so their paths do not.
    """

    bundle: Path
    policy: Path
    made_of: str
    exploration: Exploration

    def agent(self, space: ActionSpace) -> Agent:
        """Return the exploring controller."""
        agent = DreamingAgent(worker_world(self.bundle), load_policy(self.policy))
        return ExploringAgent(agent, self.exploration, space)


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
    workers: int = 2,
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
