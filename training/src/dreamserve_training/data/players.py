"""Who plays the episodes that are collected: a table of players, each with its share of them.

The player of an episode is a pure function of the episode's seed. Players are described in the
record of a collection, so they hold what distinguishes them, and no open files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.agents import Agent, BlindAgent, Exploration, ExploringAgent
from dreamserve_training.data.policies import Policy, sticky_actions, varied_sequence

# Multiples of it, modulo 1, fill [0, 1) evenly: few episodes already have the players' shares.
_GOLDEN = 0.6180339887498949


@runtime_checkable  # options are checked
class Plays(Protocol):
    """What a player is: it makes an agent in the worker process that plays."""

    def agent(self, space: ActionSpace) -> Agent:
        """Return the agent that plays an episode with the actions of `space`."""


@dataclass(frozen=True)
class Player:
    """A player's name and its weight: its share of the episodes is that of all weights."""

    name: str
    weight: float
    plays: Plays


@dataclass(frozen=True)
class RandomPlayer:
    """Takes the actions of `policy`, or random actions that last (`sticky_actions`)."""

    policy: Policy | None = None
    shortest: float = 1.0
    longest: float = 16.0

    def agent(self, space: ActionSpace) -> Agent:
        """Return an agent that ignores what it sees."""
        sticky = partial(sticky_actions, shortest=self.shortest, longest=self.longest)
        return BlindAgent(self.policy or sticky, space)


@dataclass(frozen=True)
class SequencePlayer:
    """Repeats one of several sequences of actions at a random pace, and explores."""

    sequences: tuple[tuple[Any, ...], ...]
    exploration: Exploration

    def agent(self, space: ActionSpace) -> Agent:
        """Return an agent that ignores what it sees."""
        agent = BlindAgent(partial(varied_sequence, sequences=self.sequences), space)
        return ExploringAgent(agent, self.exploration, space)


def player_of(seed: int, players: Sequence[Player]) -> Player:
    """Return the player of the episode `seed`. Some weight must be above 0."""
    point = seed * _GOLDEN % 1 * sum(player.weight for player in players)
    for player in players:
        point -= player.weight
        if point < 0:
            return player
    return max(players, key=lambda player: player.weight)  # rounding at the end of the last share
