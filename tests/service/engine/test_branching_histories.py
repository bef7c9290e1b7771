"""Any sequence of steps, forks, rewinds, snapshots and restores gives the dream of its history."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
    run_state_machine_as_test,
)

from dreamserve.backends.fake import SPACES
from dreamserve.engine.dynamics import advance, start_from_bank
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.spaces import Actions
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamEndedError,
    InvalidRequestError,
    SessionNotFoundError,
    StepConflictError,
)
from dreamserve_protocol.sessions import Snapshot

OverWire = Callable[[Snapshot, str], Snapshot]
WINDOW = 4


@dataclass
class History:
    """A dream's start, and the (seed, number of the action, observed latent) of each step."""

    start: int
    steps: list[tuple[int, int, float | None]] = field(default_factory=list)
    seed: int = 0
    window: int = 0  # number of rewindable steps


def actions_of(world: World) -> Actions:
    """Return three actions of the world, (3, …)."""
    space = world.spec.action_space
    levels = np.float32([0.1, 0.5, 0.9]).reshape(3, *[1] * len(space.shape))
    return space.uniform(np.broadcast_to(levels, (3, *space.shape)))


def replayed(world: World, history: History) -> np.ndarray:
    """Replay a history without sessions; return the last latent (Z,)."""
    latent, state = start_from_bank(world, np.array([history.start], np.uint64), np.array([8]))
    temperature = np.ones(1, np.float32)
    for number, (seed, action, observed) in enumerate(history.steps, 1):
        seeds, step = np.array([seed], np.uint64), np.array([number])
        taken = actions_of(world)[action : action + 1]
        new = advance(world, latent, state, taken, seeds, step, temperature)
        latent, state = new.latent, new.state
        if observed is not None:
            latent = np.full_like(latent, observed)
    return latent[0]


class Branches(RuleBasedStateMachine):
    """Steps, forks, rewinds, snapshots and restores, in any order."""

    over_wire: OverWire  # set by the test

    names = Bundle("names")
    saved_snapshots = Bundle("snapshots")

    @initialize(space=st.sampled_from(list(SPACES)))
    def begin(self, space: str) -> None:
        self.world = fake_world(space=SPACES[space])
        self.dream = LocalClient(self.world, capacity=1000)
        self.histories: dict[str, History] = {}
        self.windows: dict[str, int] = {}
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def check(self, name: str) -> None:
        history, info = self.histories[name], self.dream.session(name)
        assert (info.step, info.seed) == (len(history.steps), history.seed)
        assert info.rewindable_to == len(history.steps) - history.window
        snapshot = self.dream.snapshot(name)
        assert snapshot.latent.tobytes() == replayed(self.world, history).tobytes()

    @rule(target=names, seed=st.integers(0, 3), window=st.sampled_from([0, WINDOW]))
    def reset(self, seed: int, window: int) -> str:
        name = self.name()
        self.dream.reset(session_id=name, seed=seed, start=Start(bank=8), rewind_window=window)
        self.histories[name] = History(seed, [], seed)
        self.windows[name] = window
        return name

    @rule(name=names, action=st.integers(0, 2), observed=st.none() | st.sampled_from([0.1, -0.2]))
    def step(self, name: str, action: int, observed: float | None) -> None:
        history = self.histories[name]
        observation = None if observed is None else np.full(4, observed, np.float32)
        taken = actions_of(self.world)[action]
        fields = {"session_id": name, "action": taken, "observation": observation}
        try:
            answer = self.dream.step(**fields)
        except DreamEndedError:
            assert self.dream.session(name).terminated
            return
        again = self.dream.step(**fields, step=answer.step)
        assert again.latent.tobytes() == answer.latent.tobytes()
        history.steps.append((history.seed, action, observed))
        history.window = min(history.window + 1, self.windows[name])
        self.check(name)

    @rule(target=names, name=names, seed=st.none() | st.integers(0, 3))
    def fork(self, name: str, seed: int | None) -> str:
        new = self.name()
        seeds = None if seed is None else [seed]
        made = self.dream.fork(session_id=name, session_ids=[new], seeds=seeds)
        history = self.histories[name]
        self.histories[new] = History(
            history.start, list(history.steps), made.seeds[0], history.window
        )
        self.windows[new] = self.windows[name]
        self.check(new)
        self.check(name)
        return new

    @rule(name=names, steps=st.integers(0, WINDOW + 2))
    def rewind(self, name: str, steps: int) -> None:
        history = self.histories[name]
        to_step = len(history.steps) - steps
        if steps > history.window or to_step < 0:
            with pytest.raises(StepConflictError if to_step >= 0 else InvalidRequestError):
                self.dream.rewind(session_id=name, to_step=to_step)
            self.check(name)
            return
        self.dream.rewind(session_id=name, to_step=to_step)
        self.dream.rewind(session_id=name, to_step=to_step)  # repeating it changes nothing
        if steps:
            history.seed = history.steps[to_step][0]  # before the fork it had its origin's seed
        del history.steps[to_step:]
        history.window -= steps
        self.check(name)

    @rule(target=saved_snapshots, name=names, form=st.sampled_from(["json", "msgpack"]))
    def snapshot(self, name: str, form: str) -> tuple[Snapshot, History]:
        history = self.histories[name]
        copy = History(history.start, list(history.steps), history.seed, self.windows[name])
        return self.over_wire(self.dream.snapshot(name), form), copy

    @rule(target=names, saved=saved_snapshots)
    def restore(self, saved: tuple[Snapshot, History]) -> str:
        snapshot, history = saved
        name = self.name()
        self.dream.restore(name, snapshot)
        self.histories[name] = History(history.start, list(history.steps), history.seed)
        self.windows[name] = history.window
        self.check(name)
        return name

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        self.dream.delete(name)
        with pytest.raises(SessionNotFoundError):
            self.dream.snapshot(name)


@pytest.mark.slow
def test_a_session_equals_the_replay_of_its_history(over_wire: OverWire) -> None:
    Branches.over_wire = staticmethod(over_wire)
    run_state_machine_as_test(
        Branches, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )
