"""Agents that play real episodes, and exploration: random actions in place of an agent's own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.policies import Policy, random_actions, sticky_actions
from dreamserve_training.env_values import Observed
from dreamserve_training.runs.options import Options

# Streams of random numbers of an episode's seed. The seed alone is the environment's, whose
# `reset(seed=…)` makes the same generator of it, and (seed, 0) is the same to numpy.
_BURSTS, _POLICY, _LEARNER = 1, 2, 3


class Agent(Protocol):
    """Plays one real episode: `begin`, then `act` and `see` in turn."""

    def begin(self, observation: Observed, seed: int) -> None:
        """Start an episode at `observation`: (H, W, C) uint8, or (n,) float32."""

    def act(self) -> Any:
        """Return the action it would take now. StopIteration ends the episode."""

    def see(self, action: Any, observation: Observed) -> None:
        """Observe what followed `action`, which may be another than the agent's own."""


def learner_seed(seed: int) -> int:
    """Return the seed, of 64 bits, by which who learns in the episode `seed` draws its actions."""
    return int(np.random.SeedSequence((seed, _LEARNER)).generate_state(1, np.uint64)[0])


@dataclass
class BlindAgent:
    """An agent that ignores observations and takes the actions of a policy."""

    policy: Policy
    space: ActionSpace

    def begin(self, observation: Observed, seed: int) -> None:
        """Restart the policy with `seed`. Raises TypeError unless it returns actions."""
        actions = self.policy(np.random.default_rng((seed, _POLICY)), self.space)
        if not isinstance(actions, Iterable):
            raise TypeError(f"the policy must return an episode's actions, not {actions!r}")
        self._actions: Iterator[Any] = iter(actions)

    def act(self) -> Any:
        """Return the next action."""
        return next(self._actions)

    def see(self, action: Any, observation: Observed) -> None:
        """Ignore the observation."""


@dataclass(frozen=True)
class Exploration(Options):
    """Bursts of random actions: half of them independent, half of them lasting, one by one drawn.

    An episode's share of random steps is uniform between 0 and twice the mean, so that some
    episodes are the agent's alone and get old.
    """

    share: Annotated[float, Field(ge=0, le=0.5)] = 0.15  # of the steps, in the mean of episodes
    length: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 12.0  # mean steps of a burst


@dataclass
class ExploringAgent:
    """An agent that is interrupted by bursts of random actions; it sees what they lead to."""

    agent: Agent
    exploration: Exploration
    space: ActionSpace

    def begin(self, observation: Observed, seed: int) -> None:
        """Start the agent's episode, and draw when the bursts come from `seed`."""
        self.agent.begin(observation, seed)
        self._actions = self._bursts(np.random.default_rng((seed, _BURSTS)))

    def act(self) -> Any:
        """Return the agent's action, or a random one."""
        chosen = next(self._actions)
        return self.agent.act() if chosen is None else chosen

    def see(self, action: Any, observation: Observed) -> None:
        """Show the agent what followed."""
        self.agent.see(action, observation)

    def _bursts(self, rng: np.random.Generator) -> Iterator[Any]:
        """Yield a step's random action, or None where the agent acts.

        Any step is as likely as any other to be in a burst: the first one may be, and both bursts
        and gaps, of which some are empty, end by a chance that does not depend on their age.
        """
        share, length = rng.uniform(0, 2 * self.exploration.share), self.exploration.length
        if share == 0:
            yield from repeat(None)
        # a gap's end; at most ten million steps, far beyond any episode, where bursts are rare
        chance = max(share / (share + length * (1 - share)), 1e-7)
        if rng.random() >= share:
            yield from repeat(None, int(rng.geometric(chance)))
        while True:
            kind = random_actions if rng.random() < 0.5 else sticky_actions
            yield from islice(kind(rng, self.space), int(rng.geometric(1 / length)))
            yield from repeat(None, int(rng.geometric(chance)) - 1)
