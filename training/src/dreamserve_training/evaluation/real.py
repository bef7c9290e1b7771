"""The real environment decides: a controller beside policies that see nothing.

dreamserve-train evaluate takecover --out runs/takecover
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve.dream import DreamBatch
from dreamserve.engine.pixels import to_numbers
from dreamserve.engine.world import World
from dreamserve_training.data.policies import (
    constant_actions,
    random_actions,
    sticky_actions,
    sweep_actions,
)
from dreamserve_training.data.workers import game_workers, worker_env
from dreamserve_training.dreams.returns import features, worker_world
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.controller import LinearPolicy

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


class Agent(Protocol):
    """Plays one real episode: `begin`, then `act` and `see` in turn."""

    def begin(self, frame: UInt8, seed: int) -> None:
        """Start an episode at `frame` (H, W, C)."""

    def act(self) -> int:
        """Return the next action."""

    def see(self, frame: UInt8) -> None:
        """Take in the frame that the last action led to."""


@dataclass
class BlindAgent:
    """Plays actions that were decided without looking."""

    actions: Callable[[np.random.Generator], Iterator[int]]

    def begin(self, frame: UInt8, seed: int) -> None:
        """Begin the actions anew."""
        self._actions = self.actions(np.random.default_rng(seed))

    def act(self) -> int:
        """Return the next action."""
        return next(self._actions)

    def see(self, frame: UInt8) -> None:
        """Look away."""


@dataclass
class DreamingAgent:
    """A controller on [z, h]. Every real frame corrects its dream, unless its vision is cut.

    With `vision` false it sees the first frame only and then acts on its own dream at
    `temperature`: what it still scores then, it owes to no eye.
    """

    world: World
    policy: LinearPolicy
    vision: bool = True
    temperature: float = 1.0

    def begin(self, frame: UInt8, seed: int) -> None:
        """Start the dream at the real frame."""
        self.dreams = DreamBatch(self.world, [seed], self.temperature, starts=self.latent(frame))

    def act(self) -> int:
        """Return the controller's action and dream the step that it leads to."""
        action = self.policy.act(features(self.dreams))
        self.dreams.step(action)
        return int(action[0])

    def see(self, frame: UInt8) -> None:
        """Correct the dream to the real frame."""
        if self.vision:
            self.dreams.correct(self.latent(frame))

    def latent(self, frame: UInt8) -> Float32:
        """Return what V sees in `frame`: the posterior's mean (1, Z)."""
        mu, _ = self.world.backend.encode(to_numbers(self.world.spec.frame, frame[None]))
        return mu


def play(env: gymnasium.Env[Any, Any], spec: EnvSpec, agent: Agent, seed: int) -> float:
    """Return the return of one real episode."""
    observation, _ = env.reset(seed=seed)
    agent.begin(spec.frame_of(observation), seed)
    total = 0.0
    for _ in range(spec.max_episode_steps):
        observation, reward, terminated, truncated, _ = env.step(agent.act())
        total += float(reward)
        if terminated or truncated:
            break
        agent.see(spec.frame_of(observation))
    return total


@dataclass(frozen=True)
class Contestant:
    """A named agent that a worker process can build for itself."""

    name: str
    build: Callable[[], Agent]


def blind_contestants(spec: EnvSpec, sweeps: Sequence[int]) -> list[Contestant]:
    """Random, sticky random, doing nothing, and a blind sweep of each number of steps."""
    actions = len(spec.action_names)
    left, right = spec.action_names.index("left"), spec.action_names.index("right")
    return [
        Contestant("random", partial(BlindAgent, partial(random_actions, actions=actions))),
        Contestant("sticky random", partial(BlindAgent, partial(sticky_actions, actions=actions))),
        Contestant("nothing", partial(BlindAgent, _nothing)),
        *(
            Contestant(f"sweep {steps}", partial(BlindAgent, partial(_sweep, left, right, steps)))
            for steps in sweeps
        ),
    ]


def controller_contestants(
    bundle: Path, policy: LinearPolicy, temperature: float
) -> list[Contestant]:
    """The controller, and the same with its vision cut."""
    bundle = bundle.resolve()  # a worker stands elsewhere
    return [
        Contestant("controller", partial(_dreaming, bundle, policy, True, temperature)),
        Contestant("vision cut", partial(_dreaming, bundle, policy, False, temperature)),
    ]


def _nothing(rng: np.random.Generator) -> Iterator[int]:
    return constant_actions(0)


def _sweep(left: int, right: int, steps: int, rng: np.random.Generator) -> Iterator[int]:
    return sweep_actions(left, right, steps)


def _dreaming(bundle: Path, policy: LinearPolicy, vision: bool, temperature: float) -> Agent:
    return DreamingAgent(worker_world(bundle), policy, vision, temperature)


def _play_one(spec: EnvSpec, contestant: Contestant, seed: int) -> float:
    return play(worker_env(spec), spec, contestant.build(), seed)


def contest(
    spec: EnvSpec,
    contestants: Sequence[Contestant],
    seeds: Sequence[int],
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[float]]:
    """Return each contestant's returns over the same real episodes, one a seed."""
    total = len(contestants) * len(seeds)
    with game_workers(workers) as pool:
        jobs = {
            entry.name: [pool.submit(_play_one, spec, entry, seed) for seed in seeds]
            for entry in contestants
        }
        returns: dict[str, list[float]] = {}
        for name, pending in jobs.items():
            returns[name] = [job.result() for job in pending]
            progress(sum(map(len, returns.values())), total)
    return returns


def summary(returns: Sequence[float], limit: int) -> dict[str, float]:
    """Return mean, std, standard error, median and the share that reached the step limit."""
    values = np.asarray(returns)
    return {
        "mean": round(float(values.mean()), 1),
        "std": round(float(values.std(ddof=1)), 1),
        "standard_error": round(float(values.std(ddof=1) / len(values) ** 0.5), 1),
        "median": float(np.median(values)),
        "share_at_limit": round(float((values >= limit).mean()), 3),
        "episodes": len(values),
    }
