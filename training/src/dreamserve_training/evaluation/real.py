"""Evaluate a controller, and agents that ignore observations, in the real environment.

dreamserve-train evaluate takecover --out runs/takecover
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve.engine.pixels import to_numbers
from dreamserve.engine.world import World
from dreamserve.local import DreamBatch
from dreamserve_training.data.policies import (
    constant_actions,
    random_actions,
    sticky_actions,
    sweep_actions,
)
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import features, worker_world
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.signals import stoppable

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


class Agent(Protocol):
    """Plays one real episode: `begin`, then `act` and `see` in turn."""

    def begin(self, frame: UInt8, seed: int) -> None:
        """Start an episode at `frame` (H, W, C) uint8."""

    def act(self) -> int:
        """Return the next action."""

    def see(self, frame: UInt8) -> None:
        """Observe the frame after the last action."""


@dataclass
class BlindAgent:
    """An agent that ignores observations and takes the actions of a policy."""

    actions: Callable[[np.random.Generator], Iterator[int]]

    def begin(self, frame: UInt8, seed: int) -> None:
        """Restart the policy with `seed`."""
        self._actions = self.actions(np.random.default_rng(seed))

    def act(self) -> int:
        """Return the next action."""
        return next(self._actions)

    def see(self, frame: UInt8) -> None:
        """Ignore the frame."""


@dataclass
class DreamingAgent:
    """A controller on [z, h] of a dream that every real frame corrects.

    Without `vision` it sees the first frame only and then acts on its own dream at `temperature`,
    which shows how much of its return depends on vision.
    """

    world: World
    policy: LinearPolicy
    vision: bool = True
    temperature: float = 1.0

    def begin(self, frame: UInt8, seed: int) -> None:
        """Start the dream at the real frame."""
        self.dreams = DreamBatch(self.world, [seed], self.temperature, starts=self.latent(frame))

    def act(self) -> int:
        """Return the controller's action and step the dream with it."""
        action = self.policy.act(features(self.dreams))
        self.dreams.step(action)
        return int(action[0])

    def see(self, frame: UInt8) -> None:
        """Correct the dream to the real frame."""
        if self.vision:
            self.dreams.correct(self.latent(frame))

    def latent(self, frame: UInt8) -> Float32:
        """Return the mean (1, Z) of V's posterior of `frame`."""
        mu, _ = self.world.backend.encode(to_numbers(self.world.spec.observation, frame[None]))
        return mu


class EpisodeResults(NamedTuple):
    """An agent's returns and lengths, one entry per episode."""

    returns: list[float]
    lengths: list[int]  # steps

    def summary(self, limit: int) -> dict[str, float]:
        """Return statistics of the returns, and the share of episodes of at least `limit` steps."""
        values = np.asarray(self.returns)
        return {
            "mean": round(float(values.mean()), 1),
            "std": round(float(values.std(ddof=1)), 1),
            "standard_error": round(float(values.std(ddof=1) / len(values) ** 0.5), 1),
            "median": float(np.median(values)),
            "share_at_limit": round(float((np.asarray(self.lengths) >= limit).mean()), 3),
            "episodes": len(values),
        }


def play(env: gymnasium.Env[Any, Any], spec: EnvSpec, agent: Agent, seed: int) -> tuple[float, int]:
    """Play one real episode; return its return and its length in steps."""
    observation, _ = env.reset(seed=seed)
    agent.begin(spec.frame_of(observation), seed)
    total, steps = 0.0, 0
    while steps < spec.max_episode_steps:
        observation, reward, terminated, truncated, _ = env.step(agent.act())
        total, steps = total + float(reward), steps + 1
        if terminated or truncated:
            break
        agent.see(spec.frame_of(observation))
    return total, steps


@dataclass(frozen=True)
class AgentSpec:
    """A named agent that a worker process builds."""

    name: str
    build: Callable[[], Agent]


def blind_agents(spec: EnvSpec, sweeps: Sequence[int]) -> list[AgentSpec]:
    """Return baseline agents that ignore observations.

    They take random actions, sticky random actions, and the idle action, if any; then sweeps of
    `sweeps` steps between the opposed actions or, without these, every other action constantly.
    """
    actions, index_of = len(spec.action_names), spec.action_names.index
    policies: dict[str, Callable[[np.random.Generator], Iterator[int]]] = {
        "random": partial(random_actions, actions=actions),
        "sticky random": partial(sticky_actions, actions=actions),
    }
    if spec.idle is not None:
        policies["nothing"] = partial(constant_actions, action=index_of(spec.idle))
    if spec.opposed is not None:
        first, second = map(index_of, spec.opposed)
        policies |= {
            f"sweep {steps}": partial(sweep_actions, first=first, second=second, steps=steps)
            for steps in sweeps
        }
    else:
        others = [name for name in spec.action_names if name != spec.idle]
        policies |= {
            f"always {name}": partial(constant_actions, action=index_of(name)) for name in others
        }
    return [AgentSpec(name, partial(BlindAgent, policy)) for name, policy in policies.items()]


def controller_agents(bundle: Path, policy: LinearPolicy, temperature: float) -> list[AgentSpec]:
    """Return the controller, with vision and with `vision cut` after the first frame."""
    bundle = bundle.resolve()  # workers have another working directory
    return [
        AgentSpec(name, partial(_dreaming, bundle, policy, vision, temperature))
        for name, vision in (("controller", True), ("vision cut", False))
    ]


def _dreaming(bundle: Path, policy: LinearPolicy, vision: bool, temperature: float) -> Agent:
    return DreamingAgent(worker_world(bundle), policy, vision, temperature)


def _play_one(spec: EnvSpec, agent: AgentSpec, seed: int) -> tuple[float, int]:
    return play(worker_env(spec), spec, agent.build(), seed)


def compare_agents(
    spec: EnvSpec,
    agents: Sequence[AgentSpec],
    seeds: Sequence[int],
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, EpisodeResults]:
    """Return every agent's results, by name, over the same real episodes, one per seed."""
    total = len(agents) * len(seeds)
    with stoppable(), worker_pool(workers) as pool:
        jobs = {
            agent.name: [pool.submit(_play_one, spec, agent, seed) for seed in seeds]
            for agent in agents
        }
        results: dict[str, EpisodeResults] = {}
        for name, pending in jobs.items():
            returns, lengths = zip(*(job.result() for job in pending), strict=True)
            results[name] = EpisodeResults(list(returns), list(lengths))
            progress(len(results) * len(seeds), total)
    return results
