"""What handlers use: the worlds, the sessions of the request's owner, the limits of requests."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from dreamserve import noise
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.limits import Limits
from dreamserve.engine.sessions.owned import Sessions
from dreamserve.engine.sessions.restarts import SEED_BITS
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.steps import has_ended
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.engine.world import World
from dreamserve_protocol.errors import WorldNotFoundError

# Weak, so that a world that was retired is freed. A model has no reference to its world.
Latencies = WeakKeyDictionary[World, LatencyModel]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What the handler of a request may use: the engine's state and the sessions of one owner.

    Only the thread that takes the engine's turn may use it.
    """

    worlds: dict[str, World]
    sessions: Sessions
    limits: Limits
    clock: Callable[[], float]
    slice_rows: int  # rows of one slice of long work
    batch_rows: int  # rows of one step batch
    latencies: Latencies

    def world(self, name: str | None) -> World:
        """Return the world `name`, or the first one if it is None. Raises WorldNotFoundError."""
        if name is None:
            return next(iter(self.worlds.values()))
        if name not in self.worlds:
            raise WorldNotFoundError(f"no world {name[:80]!r}; loaded: {', '.join(self.worlds)}")
        return self.worlds[name]

    def find_alive(self, session_id: str) -> Session:
        """Return a session whose dream has not ended. Raises DreamEndedError, and as `find`."""
        session = self.sessions.find(session_id)
        if session.ended:
            raise has_ended(session.step)
        return session


class Contexts(dict[str, Context]):
    """The context of each owner, made at the owner's first request."""

    def __init__(
        self,
        worlds: dict[str, World],
        table: SessionTable,
        limits: Limits,
        clock: Callable[[], float],
        *,
        slice_rows: int,
        batch_rows: int,
    ) -> None:
        self.table = table
        latencies = Latencies({world: LatencyModel() for world in worlds.values()})
        self[""] = Context(
            worlds, Sessions(table), limits, clock, slice_rows, batch_rows, latencies
        )

    def __missing__(self, owner: str) -> Context:
        self[owner] = made = replace(self[""], sessions=Sessions(self.table, owner))
        return made

    def update_all(self, **fields: Any) -> None:
        """Replace these fields of every owner's context."""
        for owner, context in self.items():
            self[owner] = replace(context, **fields)


def random_seed() -> int:
    """Return a random seed of SEED_BITS bits."""
    return secrets.randbits(SEED_BITS)


def seed_of(session: Session, seed: int | None, stream: int) -> int:
    """Return `seed`, or one derived from the session's seed and step if it is None."""
    if seed is not None:
        return seed
    session_seed = np.array([session.seed], np.uint64)
    return int(noise.keys(session_seed, np.array([session.age]), stream)[0])


def start_of(session: Session, temperature: float | None) -> RolloutStart:
    """Return a copy of the session's state, at the session's temperature unless one is given."""
    temperature = temperature_of(temperature, session.temperature)
    return RolloutStart(session.world, *session.row(), step=session.age, temperature=temperature)


def temperature_of(given: float | None, default: float = 1.0) -> float:
    """Return a temperature as dreams have it, a float32, whichever verb begins them."""
    return default if given is None else float(np.float32(given))
