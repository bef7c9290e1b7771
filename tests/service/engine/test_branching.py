"""Forks, rewinds and snapshots: the same dream, bit for bit, however it was come by."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
    run_state_machine_as_test,
)

from dreamserve.api import codec
from dreamserve.engine.dynamics import advance, start_from_bank
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.snapshots import digest_of
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.validation import validated
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.common import LARGEST_LATENT, Start
from dreamserve_protocol.errors import (
    DrainingError,
    DreamEndedError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
    SessionNotFoundError,
    SnapshotRefusedError,
    StepConflictError,
    WorldNotFoundError,
)
from dreamserve_protocol.plan import Objective, PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import LastStep, Snapshot
from dreamserve_protocol.step import StepRequest

Same = Callable[[Any, Any], bool]
WINDOW = 4


@dataclass
class Told:
    """A dream as it was told: where it began, and for each step the seed, action, observation."""

    start: int
    steps: list[tuple[int, int, float | None]] = field(default_factory=list)
    seed: int = 0
    window: int = 0  # steps that can be gone back to


def dreamt(world: World, told: Told) -> np.ndarray:
    """Dream it all from the start, knowing nothing of sessions; return the latent (Z,)."""
    latent, state = start_from_bank(world, np.array([told.start], np.uint64), np.array([8]))
    temperature = np.ones(1, np.float32)
    for number, (seed, action, observed) in enumerate(told.steps, 1):
        seeds, step = np.array([seed], np.uint64), np.array([number])
        new = advance(world, latent, state, np.array([action]), seeds, step, temperature)
        latent, state = new.latent, new.state
        if observed is not None:
            latent = np.full_like(latent, observed)
    return latent[0]


class Branches(RuleBasedStateMachine):
    """Dreams are stepped, forked, rewound, kept and brought back, in any order."""

    names = Bundle("names")
    snapshots = Bundle("snapshots")

    @initialize()
    def begin(self) -> None:
        self.world = fake_world()
        self.dream = LocalClient(self.world, capacity=1000)
        self.told: dict[str, Told] = {}
        self.windows: dict[str, int] = {}
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def check(self, name: str) -> None:
        told, info = self.told[name], self.dream.session(name)
        assert (info.step, info.seed) == (len(told.steps), told.seed)
        assert info.rewindable_to == len(told.steps) - told.window
        snapshot = self.dream.snapshot(name)
        assert snapshot.latent.tobytes() == dreamt(self.world, told).tobytes()

    @rule(target=names, seed=st.integers(0, 3), window=st.sampled_from([0, WINDOW]))
    def reset(self, seed: int, window: int) -> str:
        name = self.name()
        self.dream.reset(session_id=name, seed=seed, start=Start(bank=8), rewind_window=window)
        self.told[name] = Told(seed, [], seed)
        self.windows[name] = window
        return name

    @rule(name=names, action=st.integers(0, 2), observed=st.none() | st.sampled_from([0.1, -0.2]))
    def step(self, name: str, action: int, observed: float | None) -> None:
        told = self.told[name]
        observation = None if observed is None else np.full(4, observed, np.float32)
        fields = {"session_id": name, "action": action, "observation": observation}
        try:
            answer = self.dream.step(**fields)
        except DreamEndedError:
            assert self.dream.session(name).terminated
            return
        again = self.dream.step(**fields, step=answer.step)
        assert again.latent.tobytes() == answer.latent.tobytes()
        told.steps.append((told.seed, action, observed))
        told.window = min(told.window + 1, self.windows[name])
        self.check(name)

    @rule(target=names, name=names, seed=st.none() | st.integers(0, 3))
    def fork(self, name: str, seed: int | None) -> str:
        new = self.name()
        seeds = None if seed is None else [seed]
        made = self.dream.fork(session_id=name, session_ids=[new], seeds=seeds)
        told = self.told[name]
        self.told[new] = Told(told.start, list(told.steps), made.seeds[0], told.window)
        self.windows[new] = self.windows[name]
        self.check(new)
        self.check(name)
        return new

    @rule(name=names, steps=st.integers(0, WINDOW + 2))
    def rewind(self, name: str, steps: int) -> None:
        told = self.told[name]
        to_step = len(told.steps) - steps
        if steps > told.window or to_step < 0:
            with pytest.raises(StepConflictError if to_step >= 0 else InvalidRequestError):
                self.dream.rewind(session_id=name, to_step=to_step)
            self.check(name)
            return
        self.dream.rewind(session_id=name, to_step=to_step)
        self.dream.rewind(session_id=name, to_step=to_step)  # once more is the same
        if steps:
            told.seed = told.steps[to_step][0]  # a fork's own seed began with the fork
        del told.steps[to_step:]
        told.window -= steps
        self.check(name)

    @rule(target=snapshots, name=names, form=st.sampled_from(["json", "msgpack"]))
    def keep(self, name: str, form: str) -> tuple[Snapshot, Told]:
        told = self.told[name]
        copy = Told(told.start, list(told.steps), told.seed, self.windows[name])
        return travelled(self.dream.snapshot(name), form), copy

    @rule(target=names, kept=snapshots)
    def restore(self, kept: tuple[Snapshot, Told]) -> str:
        snapshot, told = kept
        name = self.name()
        self.dream.restore(name, snapshot)
        self.told[name] = Told(told.start, list(told.steps), told.seed)
        self.windows[name] = told.window
        self.check(name)
        return name

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        self.dream.delete(name)
        with pytest.raises(SessionNotFoundError):
            self.dream.snapshot(name)


def travelled(snapshot: Snapshot, form: str) -> Snapshot:
    """Return the snapshot after a way over the wire."""
    as_msgpack = form == "msgpack"
    sent = codec.encode(snapshot, as_msgpack)
    return validated(Snapshot, codec.decode(sent, as_msgpack))


@pytest.mark.slow
def test_however_a_dream_was_come_by_it_is_the_dream_that_was_told() -> None:
    run_state_machine_as_test(
        Branches, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )


@pytest.fixture
def dream() -> LocalClient:
    """A dream "a" at its step 3, that can be rewound by 5 steps."""
    dream = LocalClient(fake_world(), capacity=4)
    dream.reset(session_id="a", seed=4, start=Start(bank=8), rewind_window=5)
    for action in (1, 0, 1):
        dream.step(session_id="a", action=action)
    return dream


def test_forks_meet_the_same_noise_or_their_own(dream: LocalClient) -> None:
    forks = dream.fork(session_id="a", session_ids=["b", "c"], seeds=[4, 5])
    assert (forks.step, forks.world, forks.seeds) == (3, "fake", [4, 5])
    a, b, c = (dream.step(session_id=name, action=1).latent for name in "abc")
    assert a.tobytes() == b.tobytes() != c.tobytes()


def test_forks_and_rewinds_show_what_was_seen_there(dream: LocalClient) -> None:
    seen = dream.step(session_id="a", action=1, include=["frame", "state"])
    dream.step(session_id="a", action=1)
    include = ["frame", "state"]
    back = dream.rewind(session_id="a", steps=1, include=include)
    fork = dream.fork(session_id="a", session_ids=["b"], include=include)
    for answer in (back, fork):
        assert np.array_equal(answer.frame, seen.frame)
        assert {n: t.tobytes() for n, t in answer.state.items()} == {
            name: tensor.tobytes() for name, tensor in seen.state.items()
        }
    for ask in (dream.rewind, dream.fork):
        own = {"session_ids": ["c"]} if ask == dream.fork else {"steps": 1}
        with pytest.raises(InvalidRequestError, match=r"include.*should be 'frame' or 'state'"):
            ask(session_id="a", include=["mixture"], **own)
    assert (dream.session("a").step, dream.engine.session_count) == (4, 2)


def test_a_step_of_the_origin_sent_again_to_a_fork_is_the_forks(dream: LocalClient) -> None:
    last = dream.step(session_id="a", action=1, include=["mixture"])
    dream.fork(session_id="a", session_ids=["b"])
    again = dream.step(session_id="b", action=1, step=4, include=["mixture"])
    assert again.session_id == "b"
    assert again.latent.tobytes() == last.latent.tobytes()


BAD_FORKS = [
    ({"session_ids": []}, InvalidRequestError, "session_ids: .*at least 1 item"),
    ({"session_ids": ["b"], "count": 1}, InvalidRequestError, "session_ids or count, not both"),
    ({"count": 0}, InvalidRequestError, "count: .*greater than or equal to 1"),
    ({"session_ids": ["a"]}, InvalidRequestError, "cannot be forked into itself"),
    ({"session_ids": ["b", "b"]}, InvalidRequestError, "must differ"),
    ({"session_ids": ["b", "c"], "seeds": [1]}, InvalidRequestError, "2 forks need as many seeds"),
    ({"session_ids": ["b"], "seeds": [-1]}, InvalidRequestError, r"seeds.0: .*equal to 0"),
    ({"session_ids": list("bcde")}, OverloadedError, "1 of 4 sessions are in use"),
]


@pytest.mark.parametrize(("fields", "error", "said"), BAD_FORKS)
def test_a_fork_that_cannot_be_made_makes_nothing(
    dream: LocalClient, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        dream.fork(session_id="a", **fields)
    assert dream.engine.session_count == 1


def test_a_fork_over_a_session_that_steps_in_the_same_turn_comes_after_its_step(
    dream: LocalClient, same: Same
) -> None:
    engine, alone = dream.engine, LocalClient(fake_world())
    for each in (dream, alone):
        each.reset(session_id="b", seed=1, start=Start(bank=8))
        each.reset(session_id="c", seed=2, start=Start(bank=8))
    forked = engine.submit(ForkRequest("a", session_ids=["b"]))
    stepped = [engine.submit(StepRequest(name, 1, step=1)) for name in "bc"]
    engine.turn()
    assert forked.result(0).step == 3
    for name, future in zip("bc", stepped, strict=True):
        assert same(future.result(0), alone.step(session_id=name, action=1))
    assert dream.snapshot("b").digest == dream.snapshot("a").digest
    assert dream.session("c").step == 1


def test_a_fork_waits_for_no_plan() -> None:
    engine = Engine([fake_world()], max_jobs=1, slice_rows=4)
    reset = engine.submit(ResetRequest(session_id="a", seed=1))
    plan = engine.submit(PlanRequest("a"))
    for _ in range(2):
        engine.turn()
    forked = engine.submit(ForkRequest("a", session_ids=["b"]))
    engine.turn()
    assert reset.done()
    assert forked.result(0).session_ids == ["b"]
    assert not plan.done()


def test_forks_go_back_as_far_as_their_origin_and_on_their_own(
    dream: LocalClient, same: Same
) -> None:
    before = [dream.snapshot("a")]
    dream.fork(session_id="a", session_ids=["b", "c"], seeds=[5, 4])
    for name in "bc":
        assert dream.session(name).rewindable_to == 0
        dream.step(session_id=name, action=2)
        dream.rewind(session_id=name, steps=1)
    assert [dream.session(name).seed for name in "abc"] == [4, 5, 4]
    assert same(dream.snapshot("c"), before[0])
    back = dream.rewind(session_id="b", to_step=1)
    assert (back.step, back.seed, back.rewindable_to) == (1, 4, 0)  # before there was a fork
    assert dream.session("a").step == 3
    assert dream.session("a").rewindable_to == 0


def test_a_fork_plans_on_with_its_origins_last_plan(dream: LocalClient, same: Same) -> None:
    numbers = {"horizon": 4, "candidates": 8, "iterations": 2, "seed": 1}
    dream.plan(session_id="a", **numbers)
    dream.fork(session_id="a", session_ids=["b"])
    for name in "ab":
        dream.step(session_id=name, action=0)
    plans = [dream.plan(session_id=name, **numbers) for name in "ab"]
    assert same(*plans)
    dream.rewind(session_id="a", steps=1)
    dream.step(session_id="a", action=0)
    assert same(dream.plan(session_id="a", **numbers), plans[0])


def test_a_server_that_shuts_down_forks_over_known_sessions_only(dream: LocalClient) -> None:
    dream.reset(session_id="b")
    dream.engine.drain()
    for ids in ({"session_ids": ["b", "c"]}, {"count": 1}):
        with pytest.raises(DrainingError, match="no new sessions"):
            dream.fork(session_id="a", **ids)
    assert dream.session("b").step == 0
    assert dream.fork(session_id="a", session_ids=["b"]).step == 3


def test_what_a_session_kept_to_go_back_to_ends_with_it(clock: Any) -> None:
    dream = LocalClient(fake_world(), session_ttl_s=10, clock=clock)
    windows = dream.engine._context.sessions.slabs["fake"].windows
    for name in ("expired", "deleted", "begun-anew", "forked-over"):
        dream.reset(session_id=name, seed=1, rewind_window=2)
        dream.step(session_id=name, action=1)
    assert (len(windows), windows.asked) == (4, 8)
    assert {len(windows.get(slot) or ()) for slot in range(4)} == {1}
    clock.now_s = 9
    dream.reset(session_id="plain", seed=1)
    dream.delete("deleted")
    dream.reset(session_id="begun-anew", seed=1)
    dream.fork(session_id="plain", session_ids=["forked-over"])
    assert len(windows) == 1
    clock.now_s = 12
    dream.reset(session_id="other")
    assert not windows


def test_all_sessions_together_keep_no_more_steps_than_they_may(clock: Any) -> None:
    dream = LocalClient(fake_world(), max_kept_steps=10, session_ttl_s=10, clock=clock)
    dream.reset(session_id="a", rewind_window=6)
    with pytest.raises(OverloadedError, match="10 steps for rewinding, and 6 are"):
        dream.reset(session_id="b", rewind_window=5)
    assert "b" not in dream.engine._context.sessions
    dream.reset(session_id="b")
    dream.reset(session_id="a", rewind_window=10)  # its own make room
    with pytest.raises(OverloadedError, match="10 are in use"):
        dream.fork(session_id="a", session_ids=["b", "c"])
    assert dream.session("b").step == 0
    with pytest.raises(OverloadedError, match="request a shorter rewind_window"):
        dream.restore(session_id="c", snapshot=dream.snapshot(session_id="a"))
    batch = dream.reset_batch(session_ids=list("ade"), rewind_window=4)
    assert [(error.row, error.code) for error in batch.errors] == [(2, "overloaded")]
    clock.now_s = 20  # what has expired keeps nothing
    dream.reset(session_id="f", rewind_window=10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), max_size=30))
def test_what_is_kept_is_counted_however_sessions_come_and_go(
    history: list[tuple[str, int]],
) -> None:
    dream = LocalClient(fake_world(), max_kept_steps=7, capacity=3)
    sessions = dream.engine._context.sessions
    windows: dict[str, int] = {}
    for name, window in history:
        with suppress(OverloadedError, SessionNotFoundError):
            if window == 0 and name in windows:
                dream.delete(name)
                del windows[name]
            else:
                dream.reset(session_id=name, rewind_window=window)
                windows[name] = window
        assert sessions.slabs["fake"].windows.asked == sum(windows.values()) <= 7


def test_a_rewound_step_is_answered_again_and_the_next_one_follows(
    dream: LocalClient, same: Same
) -> None:
    before = dream.step(session_id="a", action=0, observation=np.zeros(4, np.float32))
    after = dream.step(session_id="a", action=1)
    back = dream.rewind(session_id="a", steps=1)
    assert (back.step, back.rewindable_to, back.terminated) == (4, 0, False)
    fields = {"session_id": "a", "action": 0, "observation": np.zeros(4, np.float32)}
    assert same(dream.step(**fields, step=4), before)
    assert same(dream.step(session_id="a", action=1, step=5), after)


def test_an_ended_dream_can_be_rewound(dream: LocalClient) -> None:
    while not dream.step(session_id="a", action=2).terminated:
        pass
    dream.rewind(session_id="a", steps=1)
    assert not dream.session("a").terminated
    dream.step(session_id="a", action=0)


BAD_REWINDS = [
    ({}, InvalidRequestError, "exactly one of steps and to_step"),
    ({"steps": 1, "to_step": 1}, InvalidRequestError, "exactly one of steps and to_step"),
    ({"steps": -1}, InvalidRequestError, "steps: .*greater than or equal to 0"),
    ({"to_step": 7}, StepConflictError, "at step 6, and cannot go back to step 7"),
    ({"to_step": 0}, StepConflictError, "the window goes back to step 1, not to step 0"),
]


@pytest.mark.parametrize(("fields", "error", "said"), BAD_REWINDS)
def test_a_rewind_that_cannot_be_done_changes_nothing(
    dream: LocalClient, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    for _ in range(3):
        dream.step(session_id="a", action=1)
    before = dream.snapshot("a")
    with pytest.raises(error, match=said):
        dream.rewind(session_id="a", **fields)
    assert dream.snapshot("a").digest == before.digest


def test_a_session_without_a_window_says_how_to_have_one(dream: LocalClient) -> None:
    dream.reset(session_id="b")
    dream.step(session_id="b", action=0)
    with pytest.raises(StepConflictError, match="POST /reset with a rewind_window"):
        dream.rewind(session_id="b", steps=1)
    dream.reset(session_id="a")  # and a new dream forgets the old one's
    dream.step(session_id="a", action=0)
    with pytest.raises(StepConflictError, match="rewind_window"):
        dream.rewind(session_id="a", steps=1)


def test_a_restored_session_goes_on_elsewhere(dream: LocalClient, same: Same) -> None:
    snapshot = travelled(dream.snapshot("a"), "json")
    elsewhere = LocalClient(fake_world())
    info = elsewhere.restore("z", snapshot)
    assert (info.session_id, info.step, info.rewindable_to) == ("z", 3, 3)
    again = elsewhere.step(session_id="z", action=1, step=3)
    assert again.latent.tobytes() == dream.step(session_id="a", action=1, step=3).latent.tobytes()
    for action in (0, 1, 0):
        answers = (d.step(session_id=n, action=action) for d, n in ((dream, "a"), (elsewhere, "z")))
        assert same(*(replace(answer, session_id="") for answer in answers))


SEEN = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
EVERYTHING = ["frame", "mixture", "state"]
EXTRAS = [
    {"observation": SEEN},
    {"observation": np.zeros(4, np.float32)},
    {"observation": SEEN, "include": EVERYTHING},
    {"include": ["mixture"]},
    {"include": ["state"]},
]


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize(("world", "action"), [(True, 1), (False, [0.25, 0.1])])
def test_the_last_step_is_answered_the_same_after_a_restore(
    extra: dict[str, Any], form: str, world: bool, action: Any, same: Same
) -> None:
    here, there = (LocalClient(fake_world(discrete=world)) for _ in range(2))
    here.reset(session_id="a", seed=4)
    answer = here.step(session_id="a", action=action, **extra)
    there.restore("a", travelled(here.snapshot("a"), form))
    assert same(there.step(session_id="a", action=action, step=1, **extra), answer)
    with pytest.raises(StepConflictError, match="step 1 was already taken"):
        there.step(session_id="a", action=action, step=1)
    assert there.snapshot("a").digest == here.snapshot("a").digest
    after = (dream.step(session_id="a", action=action) for dream in (here, there))
    assert same(*after)


def last_step(**changed: Any) -> LastStep:
    """What is said of a step with an observed frame, with some of it changed."""
    info = {"surprise": 1.0, "expected_surprise": 1.0, "predicted_terminated": False}
    said = {"include": [], "info": info, "observed": "frame", "frame_digest": "0" * 32}
    return LastStep(**(said | changed))


BAD_LAST_STEPS = [
    ({"include": ["colour"]}, r"last_step.include.0: .*'frame', 'mixture' or 'state'"),
    ({"observed": "dream"}, "last_step.observed: .*'frame' or 'latent'"),
    ({"observed": None, "frame_digest": None, "info": {}}, "must be absent"),
    ({"observed": "latent"}, "frame_digest must be present if"),
    ({"frame_digest": None}, "frame_digest must be present if"),
    ({"frame_digest": "0"}, "must be 32 hex digits"),
    ({"info": {}}, "info must hold"),
    ({"include": ["frame"]}, "frame must be present if"),
    ({"include": ["mixture"]}, "mixture must be present if"),
    ({"include": ["frame"], "frame": np.zeros((8, 8, 3))}, "last_step.frame: must hold integers"),
    (
        {"include": ["frame"], "frame": np.zeros((8, 9, 3), np.uint8)},
        "frame must be .8, 8, 3. of 0 to 255",
    ),
    ({"include": ["mixture"], "mixture": {}}, "mixture must hold"),
    (
        {"include": ["mixture"], "mixture": dict.fromkeys(("weights", "mu", "sigma"), 1.0)},
        "mixture.weights must be numbers of shape",
    ),
]


@pytest.mark.parametrize(("changed", "said"), BAD_LAST_STEPS)
def test_an_answer_that_no_step_had_is_refused(
    dream: LocalClient, changed: dict[str, Any], said: str
) -> None:
    snapshot = replace(dream.snapshot("a"), last_step=last_step(**changed))
    with pytest.raises(InvalidRequestError, match=said):
        dream.restore("a", snapshot)


def test_every_float32_comes_back_from_json_with_its_bits() -> None:
    world = fake_world()
    bits = np.random.default_rng(5).integers(0, 2**32, 400_000, np.uint64).astype(np.uint32)
    numbers = bits.view(np.float32)
    numbers = np.concatenate([[0.0, -0.0, 1e-45, 3.4028235e38], numbers[np.isfinite(numbers)]])
    numbers = numbers[: len(numbers) // 4 * 4].astype(np.float32).reshape(-1, 4)
    sent = codec.encode({"latent": numbers}, as_msgpack=False)
    back = np.array(codec.decode(sent, as_msgpack=False)["latent"]).astype(np.float32)
    assert back.tobytes() == numbers.tobytes()
    dream = LocalClient(world)
    could_be_latents = numbers[(np.abs(numbers) <= LARGEST_LATENT).all(axis=1)]
    for latent in could_be_latents[:50]:
        dream.reset(session_id="a", seed=1, start=Start(latent=latent))
        dream.restore("b", travelled(dream.snapshot("a"), "json"))
        assert dream.snapshot("b").latent.tobytes() == latent.tobytes()


def test_a_snapshot_before_the_first_step_tells_nothing_of_the_slots_last_holder(
    dream: LocalClient, same: Same
) -> None:
    dream.delete("a")
    dream.reset(session_id="b", seed=1)  # in its slot
    fresh = LocalClient(fake_world())
    fresh.reset(session_id="b", seed=1)
    snapshot = dream.snapshot("b")
    assert (snapshot.action, snapshot.reward, snapshot.last_step) == (None, 0.0, None)
    assert same(snapshot, fresh.snapshot("b"))


def edited(**fields: Any) -> Callable[[Snapshot], Snapshot]:
    return lambda snapshot: replace(snapshot, **fields)


def forged(**fields: Any) -> Callable[[Snapshot], Snapshot]:
    """Edit it, and have the digest fit all the same."""

    def forge(snapshot: Snapshot) -> Snapshot:
        changed = replace(snapshot, **fields)
        return replace(changed, digest=digest_of(changed))

    return forge


BAD_SNAPSHOTS = [
    (
        edited(format="other"),
        SnapshotRefusedError,
        "reads dreamserve-snapshot 1, not other",
    ),
    (edited(format_version=2), SnapshotRefusedError, "not dreamserve-snapshot 2"),
    (edited(world="elsewhere"), WorldNotFoundError, "no world 'elsewhere'"),
    (edited(world_version="0123456789abcdef"), SnapshotRefusedError, "loaded here is fake None"),
    (edited(step=4), SnapshotRefusedError, "damaged or was edited"),
    (edited(seed=5), SnapshotRefusedError, "damaged or was edited"),
    (edited(latent=np.zeros(4, np.float32)), SnapshotRefusedError, "damaged"),
    (edited(digest="0"), SnapshotRefusedError, "damaged"),
    (edited(latent=np.zeros(3, np.float32)), InvalidRequestError, r"latent .* of shape \[4\]"),
    (edited(latent=np.full(4, np.nan)), NotFiniteInputError, "latent: element .0. is not a finite"),
    (edited(state={}), InvalidRequestError, "state must hold"),
    (edited(action=7), InvalidActionError, "not in Discrete"),
    (edited(rewind_window=9), SnapshotRefusedError, "damaged"),
    (forged(step=-1), InvalidRequestError, "snapshot.step: .*greater than or equal to 0"),
    (forged(step=0), InvalidRequestError, "before its first step a session has no action"),
    (forged(step=0, action=[1.0, 2.0], reward=0.0), InvalidRequestError, "has no action"),
    (forged(action=[1.0, 2.0]), InvalidActionError, "integers of Discrete"),
    (forged(action=None), InvalidActionError, "integers of Discrete"),
    (forged(reward=1e300), InvalidRequestError, "reward is beyond float32"),
    (forged(temperature=-1.0), InvalidRequestError, "temperature: .*greater than or equal to 0"),
    (forged(seed=-1), InvalidRequestError, "seed: .*greater than or equal to 0"),
    (forged(rewind_window=-1), InvalidRequestError, "rewind_window: .*greater than or equal to 0"),
]


@pytest.mark.parametrize(("edit", "error", "said"), BAD_SNAPSHOTS)
def test_a_snapshot_that_is_not_whole_is_refused_and_changes_nothing(
    dream: LocalClient, edit: Callable[[Snapshot], Snapshot], error: type[Exception], said: str
) -> None:
    snapshot, before = edit(dream.snapshot("a")), dream.snapshot("a").digest
    for name in ("a", "new"):
        with pytest.raises(error, match=said):
            dream.restore(name, snapshot)
    assert dream.snapshot("a").digest == before
    with pytest.raises(SessionNotFoundError):
        dream.session("new")


def test_a_full_server_restores_over_a_session_only(dream: LocalClient) -> None:
    for name in "bcd":
        dream.reset(session_id=name)
    with pytest.raises(OverloadedError):
        dream.restore("e", dream.snapshot("a"))
    assert dream.restore("d", dream.snapshot("a")).step == 3


def test_a_snapshot_is_what_json_says_it_is(dream: LocalClient) -> None:
    fields = json.loads(codec.encode(dream.snapshot("a"), as_msgpack=False))
    said = [fields[name] for name in ("format", "format_version", "world", "step")]
    assert said == ["dreamserve-snapshot", 1, "fake", 3]
    assert fields.keys().isdisjoint({"last_step", "world_version"})


def rewritten(value: Any) -> Any:
    """Return parsed JSON as JavaScript writes it again: 1.0 is 1, and -0.0 is 0."""
    if isinstance(value, dict):
        return {name: rewritten(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rewritten(part) for part in value]
    return int(value) if type(value) is float and value.is_integer() else value


@pytest.mark.parametrize("extra", [{}, *EXTRAS, {"observation": np.float32([-0.0, 1, 0, -1])}])
@pytest.mark.parametrize(("discrete", "action"), [(True, 1), (False, [-0.0, 0.1])])
def test_a_snapshot_that_javascript_wrote_again_is_accepted(
    extra: dict[str, Any], discrete: bool, action: Any, same: Same
) -> None:
    here, there = (LocalClient(fake_world(discrete=discrete)) for _ in range(2))
    latent = np.array([-0.0, 1.0, 0.0, -0.5], np.float32)
    here.reset(session_id="a", seed=4, start=Start(latent=latent))
    for step in range(2):
        snapshot = here.snapshot("a")
        sent = json.loads(codec.encode(snapshot, as_msgpack=False))
        there.restore("a", validated(Snapshot, rewritten(sent)))
        assert there.snapshot("a").digest == snapshot.digest
        if not step:
            assert np.signbit(snapshot.latent[0])
            assert not np.signbit(there.snapshot("a").latent[0])
            answer = here.step(session_id="a", action=action, **extra)
    for dream in (here, there):  # the last step is the same step, sent with either zero
        assert same(dream.step(session_id="a", action=action, step=1, **extra), answer)
    assert same(*(d.step(session_id="a", action=action) for d in (here, there)))


@pytest.mark.parametrize("number", [1.1e6, -1.1e6, np.inf, np.nan])
def test_a_latent_that_no_world_can_step_from_is_refused_wherever_it_comes(
    dream: LocalClient, number: float
) -> None:
    latent = np.array([0, number, 0, 0], np.float32)
    before = dream.snapshot("a")
    requests: list[Callable[[], Any]] = [
        lambda: dream.reset(session_id="a", start=Start(latent=latent)),
        lambda: dream.step("a", 1, observation=latent),
        lambda: dream.sample(start=Start(latent=latent), futures=1, horizon=1),
        lambda: dream.rollout(policy="random", start=Start(latent=latent), episodes=1, max_steps=1),
        lambda: dream.plan("a", objective=Objective(target=latent)),
    ]
    for request in requests:
        with pytest.raises(NotFiniteInputError, match=r"element \[1\] is not a finite") as refused:
            request()
        assert refused.value.code == "not_finite"
    assert dream.snapshot("a").digest == before.digest
    good = np.array([0, np.copysign(1e6, number) if np.isfinite(number) else 1e6, 0, 0], np.float32)
    assert dream.reset(session_id="a", start=Start(latent=good)).latent.tobytes() == good.tobytes()
