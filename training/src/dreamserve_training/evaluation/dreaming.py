"""Agents that act by a world: a controller, or plans, on a dream that real observations correct."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dreamserve.backends.finite import finite_rows
from dreamserve.engine.world import World
from dreamserve.local import DreamBatch, LocalClient
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import ActionSpace
from dreamserve_protocol.common import Start
from dreamserve_training.data.agents import Agent, Exploration, ExploringAgent
from dreamserve_training.dreams.returns import features, latent_of, worker_world
from dreamserve_training.env_values import Observed
from dreamserve_training.models.controller import Float32, Policy, load_policy


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
        return space.single(space.from_scores(scores, finite_rows(scores))[0])

    def _scores(self) -> Float32:
        return self.policy.scores(features(self.dreams, self.policy.inputs))

    def see(self, action: Any, observation: Observed) -> None:
        """Step the dream with `action`, and correct it to the real observation."""
        self.dreams.step(np.asarray(action)[None])
        if self.vision:
            state = tuple(self.dreams.state.values())
            self.dreams.correct(latent_of(self.world, observation, state))


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
        self.client = LocalClient(seeing_input(self.world), capacity=1)
        first = observation[None]
        start = Start(frames=first) if self._sees_frames() else Start(vectors=first)
        self.session_id = self.client.reset(seed=seed, start=start).session_id

    def act(self) -> Any:
        """Return the first action of a plan."""
        return self.client.plan(self.session_id, **self.fields).action

    def see(self, action: Any, observation: Observed) -> None:
        """Step the dream with `action`, corrected to the real observation."""
        if self._sees_frames():
            self.client.step(self.session_id, action, observation=observation)
        else:
            self.client.step(self.session_id, action, vector=observation)

    def _sees_frames(self) -> bool:
        return isinstance(self.world.spec.observation, FrameSpec)


def seeing_input(world: World) -> World:
    """Return `world` with a camera that takes its own input, which it neither crops nor resizes.

    A frame that an environment has prepared would be cropped again if it has the camera's shape.
    """
    seen, spec = world.spec.observation, world.spec
    if isinstance(seen, FrameSpec):
        height, width, _ = seen.shape
        whole = Crop(top=0, bottom=height, left=0, right=width)
        prepared = seen.model_copy(update={"source_shape": seen.shape, "crop": whole})
        spec = spec.model_copy(update={"observation": prepared})
    return World(spec, world.backend, world.bank, ages=world.ages)


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
