"""How dreams start, and when a reset is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import LATENT, FakeBackend, fake_spec
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.errors import BundleError
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamNotFiniteError,
    DreamserveError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
    SessionExpiredError,
    SessionNotFoundError,
    WorldNotFoundError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]


def test_fields_that_are_not_given_are_chosen_and_returned(ask: Ask) -> None:
    engine = Engine([fake_world("one"), fake_world("two")])
    first, second = (ask(engine, ResetRequest()) for _ in range(2))
    assert (first.world, first.temperature, first.step) == ("one", 1.0, 0)
    assert first.session_id != second.session_id
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**53
    again = ask(engine, ResetRequest(seed=first.seed))
    np.testing.assert_array_equal(again.latent, first.latent)


@pytest.mark.parametrize("given", [0.1, 1 / 3, 1e-46, 1e-40, 999.99999, 1000.0, 0])
def test_every_result_has_the_temperature_that_the_dream_has(ask: Ask, given: float) -> None:
    engine, stored = Engine([fake_world()]), float(np.float32(given))
    batch = ask(
        engine, validated(ResetBatchRequest, {"session_ids": ["b"], "temperatures": [given]})
    )
    policy = {"policy": "random", "episodes": 1, "max_steps": 1, "temperature": given}
    shown = [
        ask(engine, validated(ResetRequest, {"session_id": "a", "temperature": given})).temperature,
        ask(engine, SessionRequest("a")).temperature,
        float(batch.temperatures[0]),
        ask(engine, SessionRequest("b")).temperature,
        ask(engine, validated(RolloutRequest, policy)).temperature,
        ask(engine, validated(RolloutRequest, {**policy, "session_id": "a"})).temperature,
    ]
    assert shown == [stored] * len(shown)


@pytest.mark.parametrize("given", [1000.00001, 1e39, -1e-46])
def test_a_temperature_is_refused_alone_and_in_a_batch(ask: Ask, given: float) -> None:
    engine = Engine([fake_world()])
    with pytest.raises(InvalidRequestError, match="temperature"):
        validated(ResetRequest, {"temperature": given})
    fields = {"session_ids": ["a", "b"], "temperatures": [given, 1.0]}
    (error,) = ask(engine, validated(ResetBatchRequest, fields)).errors
    assert (error.row, error.code) == (0, "invalid_request")
    assert "temperature must be within 0 and 1000" in error.detail


def test_a_seed_chooses_an_entry_of_the_bank(ask: Ask) -> None:
    engine = Engine([fake_world()])
    means = [round(float(ask(engine, ResetRequest(seed=s)).latent.mean()), 1) for s in range(60)]
    assert len(set(means)) > 5


def test_a_bank_entry_starts_in_its_posterior_with_its_state(ask: Ask) -> None:
    world = fake_world()
    engine = Engine([world])
    answers = [
        ask(engine, ResetRequest(seed=s, start=Start(bank=3), include=["state"]))
        for s in range(200)
    ]
    drawn = np.stack([answer.latent for answer in answers]) - world.bank["mu"][3]
    np.testing.assert_allclose(drawn.mean(), 0, atol=0.01)
    np.testing.assert_allclose(drawn.std(), np.exp(-3.0), rtol=0.1)
    np.testing.assert_array_equal(answers[0].state["memory"], world.bank["state.memory"][3])


def test_a_latent_start_is_used_unchanged_with_an_empty_state(ask: Ask) -> None:
    start = Start(latent=np.array([1, 2, 3, 4]))
    answer = ask(Engine([fake_world()]), ResetRequest(start=start, include=["state", "frame"]))
    np.testing.assert_array_equal(answer.latent, np.float32([1, 2, 3, 4]))
    assert not answer.state["memory"].any()
    assert answer.state["n"].shape == ()
    assert answer.frame.shape == (8, 8, 3)


def test_a_world_without_a_bank_starts_in_the_prior(ask: Ask) -> None:
    spec = fake_spec()
    engine = Engine([World(spec, FakeBackend(spec))])
    drawn = np.stack([ask(engine, ResetRequest(seed=s)).latent for s in range(300)])
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.1)


def test_a_reset_restarts_a_session_in_its_slot(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=1)
    ask(engine, ResetRequest(session_id="a", seed=1))
    before = ask(engine, StepRequest("a", 2, step=1))
    ask(engine, ResetRequest(session_id="a", seed=1))
    assert engine.session_count == 1
    after = ask(engine, StepRequest("a", 2, step=1))
    np.testing.assert_array_equal(before.latent, after.latent)
    assert after is not before


def test_a_session_can_move_to_another_world(ask: Ask) -> None:
    engine = Engine([fake_world("one"), fake_world("two", discrete=False)], capacity=1)
    ask(engine, ResetRequest(session_id="a", world="one"))
    assert ask(engine, ResetRequest(session_id="a", world="two")).world == "two"
    assert ask(engine, StepRequest("a", [0.5, 0.5])).step == 1
    assert engine.session_count == 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"world": "nowhere"}, WorldNotFoundError, "no world 'nowhere'; loaded: fake"),
        ({"seed": -1}, InvalidRequestError, "seed: .*greater than or equal to 0"),
        ({"seed": 2**53}, InvalidRequestError, "seed: .*less than or equal to 9007199254740991"),
        ({"seed": True}, InvalidRequestError, "seed: .*a valid integer"),
        ({"session_id": "no spaces"}, InvalidRequestError, "session_id: .*match pattern"),
        ({"session_id": "a" * 129}, InvalidRequestError, "session_id: .*at most 128"),
        ({"temperature": -0.1}, InvalidRequestError, "temperature: .*greater than or equal to 0"),
        ({"temperature": 1001}, InvalidRequestError, "temperature: .*less than or equal to 1000"),
        ({"temperature": float("nan")}, NotFiniteInputError, "temperature: .*finite number"),
        ({"rewind_window": -1}, InvalidRequestError, "rewind_window: .*equal to 0"),
        ({"start": {}}, InvalidRequestError, "exactly one of bank, latent, frames, vectors, age"),
        (
            {"start": {"bank": 1, "latent": [0.0] * 4}},
            InvalidRequestError,
            "exactly one of bank, latent, frames, vectors, age",
        ),
        ({"start": {"bank": 1, "actions": [1]}}, InvalidRequestError, "actions go with frames"),
        ({"start": {"bank": 16}}, InvalidRequestError, "bank of fake has entries 0 to 15"),
        ({"start": {"bank": -1}}, InvalidRequestError, "start.bank: .*equal to 0"),
        ({"start": {"latent": [0.0] * 5}}, InvalidRequestError, r"start.latent .*shape \[4\]"),
        ({"start": {"latent": [np.inf] * 4}}, NotFiniteInputError, "start.latent: element .0. is"),
        ({"start": {"latent": [1e39] * 4}}, NotFiniteInputError, "start.latent: element .0. is"),
        (
            {"start": {"frames": np.zeros((0, 8, 8, 3), np.uint8)}},
            InvalidRequestError,
            "at least one frame",
        ),
        (
            {"start": {"frames": np.zeros((1, 8, 8, 3))}},
            InvalidRequestError,
            "start.frames: must be .* dtype float",
        ),
        (
            {"start": {"frames": np.zeros((1, 9, 8, 3), np.uint8)}},
            InvalidRequestError,
            r"a frame must be \[16, 24, 3\]",
        ),
        (
            {"start": {"frames": np.zeros((2, 8, 8, 3), np.uint8)}},
            InvalidRequestError,
            "2 frames need 1 actions between them, not 0",
        ),
        (
            {"include": ["mixture"]},
            InvalidRequestError,
            "include.0: .*'vector' or 'state'",
        ),
    ],
)
def test_a_reset_that_makes_no_sense_is_refused_and_makes_no_session(
    ask: Ask, fields: dict[str, Any], error: type[DreamserveError], message: str
) -> None:
    engine = Engine([fake_world()])
    with pytest.raises(error, match=message):
        ask(engine, validated(ResetRequest, fields))
    assert engine.session_count == 0


def test_each_step_of_a_context_and_the_start_have_different_noise(ask: Ask) -> None:
    spec, met = fake_spec(), []

    class Recording(FakeBackend):
        def step(self, batch: StepInput) -> StepOutput:
            met.append(batch.noise[0, :LATENT])
            return super().step(batch)

    backend = Recording(spec)
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    start = Start(frames=frames, actions=np.array([0, 1, 2]))
    result = ask(Engine([World(spec, backend)]), ResetRequest(seed=3, start=start))
    mu, logvar = backend.encode(frames[-1:].astype(np.float32))
    met.append((result.latent - mu[0]) / np.exp(0.5 * logvar[0]))
    assert len(met) == 4
    for i, noise in enumerate(met):
        assert not any(np.allclose(noise, other, atol=1e-4) for other in met[:i])


def test_frames_that_lead_to_nan_make_no_session(ask: Ask) -> None:
    spec = fake_spec()

    class Blind(FakeBackend):
        def encode(self, frames: np.ndarray, state: Any = ()) -> tuple[np.ndarray, ...]:
            mu, logvar = super().encode(frames)
            return np.full_like(mu, np.nan), logvar

    engine = Engine([World(spec, Blind(spec))])
    start = Start(frames=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(DreamNotFiniteError, match="these frames lead to NaN"):
        ask(engine, ResetRequest(session_id="a", start=start))
    assert engine.session_count == 0


def test_when_full_a_reset_is_refused_and_no_session_is_lost(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=2)
    for session_id in "ab":
        ask(engine, ResetRequest(session_id=session_id))
    with pytest.raises(OverloadedError, match="2 of 2 sessions are in use") as refused:
        ask(engine, ResetRequest(session_id="c"))
    assert refused.value.retry_after_s is not None
    for session_id in "ab":
        assert ask(engine, StepRequest(session_id, 1)).step == 1
    ask(engine, DeleteRequest("a"))
    assert ask(engine, ResetRequest(session_id="c")).step == 0


def test_an_idle_session_expires_with_its_own_error(ask: Ask, clock: Any) -> None:
    engine = Engine([fake_world()], capacity=1, session_ttl_s=10, clock=clock)
    ask(engine, ResetRequest(session_id="a"))
    clock.now_s = 10
    ask(engine, StepRequest("a", 1))
    clock.now_s = 19
    assert ask(engine, SessionRequest("a")).idle_s == 9  # reading does not renew it
    clock.now_s = 20.1
    for request in (StepRequest("a", 1), SessionRequest("a")):
        with pytest.raises(
            SessionExpiredError, match="was idle for over 10 s; a reset starts over"
        ):
            ask(engine, request)
    assert ask(engine, ResetRequest(session_id="b")).step == 0  # its slot is free
    ask(engine, DeleteRequest("b"))
    assert ask(engine, ResetRequest(session_id="a")).step == 0
    assert ask(engine, StepRequest("a", 1)).step == 1


def test_a_batch_step_renews_a_session_and_a_snapshot_does_not(ask: Ask, clock: Any) -> None:
    engine = Engine([fake_world()], session_ttl_s=10, clock=clock)
    ask(engine, ResetBatchRequest(session_ids=["stepped", "kept"]))
    clock.now_s = 9
    ask(engine, StepBatchRequest(["stepped"], np.array([1])))
    assert ask(engine, SnapshotRequest("kept")).step == 0
    clock.now_s = 12
    assert ask(engine, SessionRequest("stepped")).idle_s == 3
    with pytest.raises(SessionExpiredError):
        ask(engine, SessionRequest("kept"))


def test_the_number_of_remembered_expired_sessions_is_bounded(
    ask: Ask, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamserve.engine.sessions.table.EXPIRED_REMEMBERED", 2)
    engine = Engine([fake_world()], session_ttl_s=1, clock=clock)
    for session_id in "abc":
        ask(engine, ResetRequest(session_id=session_id))
    clock.now_s = 5
    with pytest.raises(SessionNotFoundError):
        ask(engine, StepRequest("a", 1))
    with pytest.raises(SessionExpiredError):
        ask(engine, StepRequest("b", 1))


def test_a_deleted_session_is_gone(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetRequest(session_id="a", seed=5, temperature=0.5))
    ask(engine, StepRequest("a", 1))
    info = ask(engine, SessionRequest("a"))
    assert (info.world, info.step, info.seed, info.temperature) == ("fake", 1, 5, 0.5)
    assert ask(engine, DeleteRequest("a")) is None
    with pytest.raises(SessionNotFoundError):
        ask(engine, SessionRequest("a"))
    with pytest.raises(SessionNotFoundError):
        ask(engine, DeleteRequest("a"))
    assert engine.session_count == 0


def test_reused_slots_have_no_trace_of_the_previous_session(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=3)
    fresh = ask(Engine([fake_world()]), ResetRequest(session_id="z", seed=9))
    for i in range(20):
        ask(engine, ResetRequest(session_id=str(i)))
        ask(engine, StepRequest(str(i), 2))
        ask(engine, DeleteRequest(str(i)))
    again = ask(engine, ResetRequest(session_id="z", seed=9))
    np.testing.assert_array_equal(again.latent, fresh.latent)
    assert not ask(engine, SessionRequest("z")).terminated


def test_two_worlds_of_one_name_and_no_world_at_all_are_refused() -> None:
    with pytest.raises(BundleError, match="two worlds are named 'fake'"):
        Engine([fake_world(), fake_world()])
    with pytest.raises(BundleError, match="give at least one bundle"):
        Engine([])


def test_the_memory_of_all_sessions_is_reported() -> None:
    engine = Engine([fake_world()], capacity=1000)
    assert engine.usage.memory_bytes == 1000 * (4 * (4 + 3 + 1) + 93)
