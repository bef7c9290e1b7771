"""The handlers' shared state: the worlds, the sessions and the limits of requests."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dreamserve import noise
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.limits import Limits
from dreamserve.engine.sessions.restarts import SEED_BITS
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.steps import has_ended
from dreamserve.engine.sessions.table import Sessions
from dreamserve.engine.world import World
from dreamserve_protocol.errors import DrainingError, WorldNotFoundError


@dataclass(slots=True, eq=False)
class Context:
    """The engine's state. Only the thread that takes the engine's turn may use it."""

    worlds: dict[str, World]
    sessions: Sessions
    limits: Limits
    clock: Callable[[], float]
    slice_rows: int  # rows of one slice of long work
    batch_rows: int  # rows of one step batch
    draining: bool = False  # whether new sessions are refused
    latencies: dict[str, LatencyModel] = field(init=False)  # by world

    def __post_init__(self) -> None:
        self.latencies = {name: LatencyModel() for name in self.worlds}

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

    def check_admission(self, *session_ids: str) -> None:
        """Raise DrainingError if the server is draining and any of these sessions is new."""
        if self.draining and not all(session_id in self.sessions for session_id in session_ids):
            raise DrainingError("the server is shutting down and takes no new sessions")


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
    temperature = session.temperature if temperature is None else temperature
    return RolloutStart(session.world, *session.row(), step=session.age, temperature=temperature)
