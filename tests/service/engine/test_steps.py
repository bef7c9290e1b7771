"""The effects of a step on its session, and on no other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import SPACES, FakeBackend, fake_spec
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.manifest import DoneRule
from dreamserve.validation import validated
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamEndedError,
    DreamNotFiniteError,
    DreamserveError,
    EngineFailedError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    SessionNotFoundError,
    StepConflictError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import SessionRequest, SnapshotRequest
from dreamserve_protocol.step import StepRequest, StepResult

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]
ALL = ["frame", "mixture", "state"]


def engine_with(world: World, *ids: str, **options: Any) -> Engine:
    engine = Engine([world], **options)
    for seed, session_id in enumerate(ids):
        engine.submit(ResetRequest(session_id=session_id, seed=seed))
    engine.turn()
    return engine


def outcomes(engine: Engine, requests: list[Request]) -> list[Any]:
    futures = [engine.submit(request) for request in requests]
    for _ in range(100):
        engine.turn()
    return [future.exception(timeout=0) or future.result(timeout=0) for future in futures]


def test_steps_count_from_one(ask: Ask) -> None:
    engine = engine_with(fake_world(), "a")
    for number in (1, 2, 3):
        answer = ask(engine, StepRequest("a", 1, step=number))
        assert (answer.step, answer.truncated) == (number, False)
    assert ask(engine, StepRequest("a", 1)).step == 4


def test_a_repeated_step_has_the_stored_result(ask: Ask) -> None:
    engine = engine_with(fake_world(), "a")
    first = ask(engine, StepRequest("a", 2, step=1, include=ALL))
    assert ask(engine, StepRequest("a", np.int64(2), step=1, include=ALL)) is first
    assert ask(engine, SessionRequest("a")).step == 1


@pytest.mark.parametrize(
    "other",
    [
        StepRequest("a", 1, step=1),
        StepRequest("a", 2, step=1, include=ALL),
        StepRequest("a", 2, step=1, observation=np.zeros(4, np.float32)),
    ],
)
def test_the_same_number_with_other_content_is_a_conflict(ask: Ask, other: StepRequest) -> None:
    engine = engine_with(fake_world(), "a")
    ask(engine, StepRequest("a", 2, step=1))
    with pytest.raises(StepConflictError, match="step 1 was already taken"):
        ask(engine, other)


@pytest.mark.parametrize("number", [-1, 0])
def test_a_step_before_the_first_is_refused(ask: Ask, number: int) -> None:
    engine = engine_with(fake_world(), "a")
    with pytest.raises(InvalidRequestError, match=r"step: .*greater than or equal to 1"):
        ask(engine, StepRequest("a", 2, step=number))
    assert ask(engine, SessionRequest("a")).step == 0


@pytest.mark.parametrize("number", [2, 7])
def test_a_step_out_of_order_is_a_conflict_and_changes_nothing(ask: Ask, number: int) -> None:
    engine = engine_with(fake_world(), "a")
    with pytest.raises(StepConflictError, match=f"the next step is 1, not {number}"):
        ask(engine, StepRequest("a", 2, step=number))
    assert ask(engine, SessionRequest("a")).step == 0


def test_an_ended_dream_refuses_steps_but_repeats_its_last_result(ask: Ask, same: Same) -> None:
    engine = engine_with(fake_world(), "a")
    ask(engine, ResetRequest(session_id="a", start=Start(latent=np.array([2, 0, 0, 0]))))
    last = ask(engine, StepRequest("a", 2, step=1))
    assert last.terminated
    for number in (None, 2):
        with pytest.raises(DreamEndedError, match="ended at step 1; a reset"):
            ask(engine, StepRequest("a", 2, step=number))
    assert same(ask(engine, StepRequest("a", 2, step=1)), last)
    assert ask(engine, SessionRequest("a")).terminated
    assert ask(engine, ResetRequest(session_id="a")).step == 0
    assert ask(engine, StepRequest("a", 1)).step == 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (3, r"action 3 is not in Discrete\(3\): 0 back, 1 stay, 2 forth"),
        (-1, "action -1 is not in Discrete"),
        (True, "action: must be an integer"),
        (1.0, "action: must be an integer .* dtype float64"),
        ("left", "action: must be an integer"),
        (None, "action: must be an integer"),
        ([1], r"shape \[1\]: must be \[\], actions of Discrete"),
        ([1, [2]], r"action: element \[1\] is a list among numbers"),
        (10**30, "action: must hold integers from -9223372036854775808"),
    ],
)
def test_an_action_that_is_not_in_a_discrete_space_is_refused(
    ask: Ask, action: Any, message: str
) -> None:
    engine = engine_with(fake_world(), "a")
    with pytest.raises(InvalidActionError, match=message):
        ask(engine, StepRequest("a", action))
    assert ask(engine, StepRequest("a", 1)).step == 1


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ([1.5, 0], InvalidActionError, r"first = 1.5 is not in Box: first in \[-1, 1\], second"),
        ([0, -0.51], InvalidActionError, "second = -0.51 is not in Box"),
        ([0, 1e30], InvalidActionError, r"second = 1e\+30 is not in Box"),
        ([0], InvalidActionError, r"shape \[1\]: must be \[2\]"),
        (1, InvalidActionError, r"shape \[\]: must be \[2\]"),
        (["x", "y"], InvalidActionError, r"element \[0\] is str, it must be a number"),
        ([True, False], InvalidActionError, r"element \[0\] is bool, it must be a number"),
        ([0, 1e300], NotFiniteInputError, r"element \[1\] is not a finite float32 number"),
        ([float("nan"), 0], NotFiniteInputError, r"element \[0\] is not a finite"),
        ([float("inf"), 0], NotFiniteInputError, r"element \[0\] is not a finite"),
    ],
)
def test_an_action_that_is_not_in_a_box_is_refused(
    ask: Ask, action: Any, error: type[DreamserveError], message: str
) -> None:
    engine = engine_with(fake_world(discrete=False), "a")
    with pytest.raises(error, match=message):
        ask(engine, StepRequest("a", action))
    assert ask(engine, StepRequest("a", [1, -0.5])).step == 1


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (
            "MultiDiscrete",
            [3, 0, 0, 0],
            r"move = 3 is not in .*\[3, 2, 5, 2\]\): move \(0 back, 1",
        ),
        ("MultiDiscrete", [0, 0, 0, -1], r"horn = -1 is not in .* horn \(0 off, 1 on\)"),
        ("MultiDiscrete", [0, 0, 0], r"shape \[3\]: must be \[4\], actions of MultiDiscrete"),
        ("MultiDiscrete", 1, r"shape \[\]: must be \[4\]"),
        ("MultiDiscrete", [0.0, 0, 0, 0], "must be integers of MultiDiscrete"),
        ("MultiBinary", [0, 2, 0], r"duck = 2 is not in MultiBinary\(3\): jump 0 or 1, duck 0 or"),
        (
            "MultiBinary",
            [[0, 0, 0]],
            r"must be an integer or \(A,\) int64 or \(A,\) float32",
        ),
        ("MultiBinary", [True, False, True], r"element \[0\] is bool, it must be a number"),
        ("MultiBinary", [0, 2**62, 0], "duck = 4611686018427387904 is not in MultiBinary"),
    ],
)
def test_an_action_that_is_none_of_the_choices_is_refused(
    ask: Ask, space: str, action: Any, message: str
) -> None:
    engine = engine_with(fake_world(space=SPACES[space]), "a")
    with pytest.raises(InvalidActionError, match=message):
        ask(engine, StepRequest("a", action))
    valid = np.zeros(SPACES[space].shape, np.int8)
    assert ask(engine, StepRequest("a", valid)).step == 1


def test_an_unknown_session_is_not_found(ask: Ask) -> None:
    told = r"no session b on server .+: it was ended, .+ restarted, or a load balancer .+ a reset"
    with pytest.raises(SessionNotFoundError, match=told):
        ask(engine_with(fake_world(), "a"), StepRequest("b", 1))


def test_a_row_that_goes_non_finite_fails_alone(same: Same) -> None:
    engine = engine_with(fake_world(nan_action=2), "a", "b", "c")
    alone = engine_with(fake_world(), "a", "b", "c")
    for _ in range(3):
        a, b, c = outcomes(engine, [StepRequest("a", 1), StepRequest("b", 2), StepRequest("c", 0)])
        assert isinstance(b, DreamNotFiniteError)
        good = outcomes(alone, [StepRequest("a", 1), StepRequest("c", 0)])
        assert same([*good], [a, c])
    (after,) = outcomes(engine, [StepRequest("b", 1, step=1)])
    assert isinstance(after, StepResult)
    assert same(after, outcomes(alone, [StepRequest("b", 1)])[0])


def test_a_failed_batch_gets_errors_and_the_engine_continues(same: Same) -> None:
    engine = engine_with(fake_world(failing_action=2), "a", "b")
    failed = outcomes(engine, [StepRequest("a", 1), StepRequest("b", 2)])
    assert [type(outcome) for outcome in failed] == [EngineFailedError] * 2
    good = outcomes(engine, [StepRequest("a", 1, step=1), StepRequest("b", 1, step=1)])
    expected = outcomes(
        engine_with(fake_world(), "a", "b"), [StepRequest("a", 1), StepRequest("b", 1)]
    )
    assert same(good, expected)


def test_an_observed_latent_replaces_the_dreamt_one(ask: Ask) -> None:
    engine = engine_with(fake_world(), "a")
    real = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    dreamt = ask(engine_with(fake_world(), "a"), StepRequest("a", 1, include=ALL))
    answer = ask(engine, StepRequest("a", 1, observation=real, include=ALL))
    np.testing.assert_array_equal(answer.latent, real)
    assert answer.reward == dreamt.reward
    for name, part in dreamt.state.items():  # the memory is of the step that was really taken
        np.testing.assert_array_equal(answer.state[name], part)
    np.testing.assert_array_equal(ask(engine, ResetRequest(session_id="z")).latent.shape, (4,))


def test_an_observed_frame_corrects_the_dream_to_its_posterior_mean(ask: Ask) -> None:
    world = fake_world()
    engine = engine_with(world, "a")
    real = np.array([[0.1, -0.2, 0.3, 0.4]], np.float32)
    frame = np.rint(255 * world.backend.decode(real)[0]).astype(np.uint8)
    answer = ask(engine, StepRequest("a", 1, observation=frame))
    np.testing.assert_allclose(answer.latent, real[0], atol=1 / 127)
    camera = np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1)
    camera = np.concatenate([camera, np.zeros((16, 8, 3), np.uint8)], axis=1)
    other = engine_with(world, "a")
    cropped = ask(other, StepRequest("a", 1, observation=camera))
    np.testing.assert_array_equal(cropped.latent, answer.latent)


def test_surprise_grows_with_the_distance_from_what_was_expected(ask: Ask) -> None:
    near, far = (
        ask(
            engine_with(fake_world(), "a"),
            StepRequest("a", 1, observation=np.full(4, at, np.float32)),
        ).info["surprise"]
        for at in (-0.3, 2.0)
    )
    assert far > near + 10


def test_expected_surprise_is_that_of_the_worlds_own_dream(ask: Ask) -> None:
    dreamt = ask(engine_with(fake_world(), "a"), StepRequest("a", 1)).latent
    answer = ask(engine_with(fake_world(), "a"), StepRequest("a", 1, observation=dreamt))
    assert answer.info["surprise"] == answer.info["expected_surprise"]


def test_expected_surprise_is_the_same_whatever_was_observed(ask: Ask) -> None:
    near, far = (
        ask(
            engine_with(fake_world(), "a"),
            StepRequest("a", 1, observation=np.full(4, at, np.float32)),
        ).info
        for at in (-0.3, 2.0)
    )
    assert near["expected_surprise"] == far["expected_surprise"]
    assert near["surprise"] != far["surprise"]


def test_an_observed_dream_continues_where_the_world_predicted_an_end(ask: Ask) -> None:
    engine = engine_with(fake_world(), "a")
    ask(engine, ResetRequest(session_id="a", start=Start(latent=np.array([2, 0, 0, 0]))))
    answer = ask(engine, StepRequest("a", 2, observation=np.zeros(4, np.float32)))
    assert (answer.terminated, answer.info["predicted_terminated"]) == (False, True)
    assert 0.5 < answer.info["end_probability"] <= 1
    assert ask(engine, StepRequest("a", 1)).step == 2


def test_an_observation_encoded_as_nan_leaves_its_session_unchanged(ask: Ask, same: Same) -> None:
    spec = fake_spec()

    class Blind(FakeBackend):
        def encode(self, observations: np.ndarray, state: Any = ()) -> tuple[np.ndarray, ...]:
            mu, logvar = super().encode(observations, state)
            return np.full_like(mu, np.nan), logvar

    engine, seeing = (
        engine_with(World(spec, backend, fake_world().bank), "a", "beside")
        for backend in (Blind(spec), FakeBackend(spec))
    )
    before = ask(engine, SnapshotRequest("a"))
    frame = np.zeros((8, 8, 3), np.uint8)
    observed, beside = outcomes(
        engine, [StepRequest("a", 1, step=1, observation=frame), StepRequest("beside", 1, step=1)]
    )
    assert isinstance(observed, DreamNotFiniteError)
    assert same(beside, ask(seeing, StepRequest("beside", 1, step=1)))
    assert same(ask(engine, SnapshotRequest("a")), before)
    dreamt = StepRequest("a", 2, step=1, include=ALL)
    assert same(ask(engine, dreamt), ask(seeing, dreamt))


@pytest.mark.parametrize(
    ("observation", "error", "message"),
    [
        (np.zeros(3, np.float32), InvalidRequestError, r"observation .*of shape \[4\].*\[3\]"),
        (np.full(4, np.nan, np.float32), NotFiniteInputError, r"observation: element \[0\] is not"),
        (np.zeros((9, 8, 3), np.uint8), InvalidRequestError, r"must be \[16, 24, 3\].*\[9, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), InvalidRequestError, r"observation: .*has shape \[8, 8\]"),
        (np.array(["x"]), InvalidRequestError, "observation: must hold numbers"),
        ([[[256] * 3] * 8] * 8, InvalidRequestError, "must hold integers from 0 to 255"),
    ],
)
def test_an_observation_that_makes_no_sense_is_refused(
    ask: Ask, observation: Any, error: type[DreamserveError], message: str
) -> None:
    engine = engine_with(fake_world(), "a")
    with pytest.raises(error, match=message):
        ask(engine, StepRequest("a", 1, observation=observation))
    assert ask(engine, SessionRequest("a")).step == 0


@pytest.mark.parametrize("threshold", [-0.2, 0.0, 0.2])
def test_an_end_is_more_likely_than_not_where_the_threshold_is(threshold: float, ask: Ask) -> None:
    engine = engine_with(fake_world(done=DoneRule(threshold=threshold)), "a")
    seen = set()
    for at in np.linspace(0.6, 1.6, 30):
        start = Start(latent=np.array([at, 0, 0, 0]))
        ask(engine, ResetRequest(session_id="a", start=start, temperature=0.0))
        answer = ask(engine, StepRequest("a", 1, observation=np.zeros(4, np.float32)))
        likely, ends = answer.info["end_probability"] > 0.5, answer.info["predicted_terminated"]
        assert likely == ends
        seen.add(ends)
    assert seen == {True, False}


class Extreme(FakeBackend):
    """A world whose deviations are finite as logarithms only."""

    log_sigma = -400.0

    def step(self, batch: StepInput) -> StepOutput:
        output = super().step(batch)
        logits, mu, log_sigma = output.head
        extreme = np.full_like(log_sigma, self.log_sigma)
        return replace(output, head=(logits, mu, extreme))


class Wide(Extreme):
    log_sigma = 400.0


@pytest.mark.parametrize(
    ("backend", "asked"),
    [
        (Extreme, {"observation": np.ones(4, np.float32)}),
        (Wide, {"include": ["mixture"]}),
    ],
)
def test_a_step_whose_surprise_or_mixture_is_not_finite_is_not_taken(
    backend: type[Extreme], asked: dict[str, Any], ask: Ask, same: Same
) -> None:
    """It was answered with null, and a snapshot of it could not be restored."""
    world = fake_world()
    engine = engine_with(World(world.spec, backend(world.spec), world.bank), "a")
    before = ask(engine, SnapshotRequest("a"))
    with pytest.raises(DreamNotFiniteError, match="step 1 gave NaN or infinity and was not taken"):
        ask(engine, StepRequest("a", 1, **asked))
    assert same(ask(engine, SnapshotRequest("a")), before)


def test_what_is_included_fits_the_world(any_world: World, ask: Ask) -> None:
    engine = engine_with(any_world, "a")
    spec = any_world.spec
    space = spec.action_space
    action = space.single(space.uniform(np.zeros(space.shape, np.float32)))
    answer = ask(engine, StepRequest("a", action, include=ALL))
    assert (answer.frame.shape, answer.frame.dtype) == (spec.observation.shape, np.uint8)
    assert {n: p.shape for n, p in answer.state.items()} == {
        tensor.name: tensor.shape for tensor in spec.recurrent_state
    }
    weights = answer.mixture["weights"]
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
    assert answer.mixture["mu"].shape == (spec.head.components, spec.latent_size)
    is_ahead = answer.info["end_probability"] > 0.5
    assert is_ahead == answer.terminated
    assert (answer.mixture["sigma"] > 0).all()


def test_results_are_copies_that_later_steps_do_not_change(ask: Ask) -> None:
    engine = engine_with(fake_world(), "a")
    first = ask(engine, StepRequest("a", 1, include=ALL))
    copy = (first.latent.copy(), first.state["memory"].copy(), first.frame.copy())
    for _ in range(3):
        ask(engine, StepRequest("a", 0))
    for kept, part in zip(copy, (first.latent, first.state["memory"], first.frame), strict=True):
        np.testing.assert_array_equal(kept, part)


def test_a_context_of_frames_gives_the_state_of_steps_that_observe_them(ask: Ask) -> None:
    world = fake_world()
    frames = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)
    start = Start(frames=frames, actions=np.array([0, 1, 2]))
    engine = engine_with(world, "b")
    burnt = ask(engine, ResetRequest(session_id="a", start=start, include=["frame", "state"]))
    mu = world.backend.encode(frames.astype(np.float32) / np.float32(255))[0]
    ask(engine, ResetRequest(session_id="b", start=Start(latent=mu[0])))
    for action in (0, 1, 2):
        last = ask(engine, StepRequest("b", action, observation=frames[action + 1], include=ALL))
    for name, part in last.state.items():
        np.testing.assert_array_equal(burnt.state[name], part)
    spread = np.exp(-2.0)  # of the fake world's posterior
    assert 0 < np.abs(burnt.latent - last.latent).max() < 5 * spread


@pytest.mark.parametrize("actions", [None, [], [0], [0, 1, 2]])
def test_a_context_with_a_wrong_count_of_actions_is_refused(ask: Ask, actions: Any) -> None:
    start = {"frames": np.zeros((3, 8, 8, 3), np.uint8), "actions": actions}
    with pytest.raises(InvalidRequestError, match="3 frames need 2 actions between them, not"):
        ask(engine_with(fake_world()), validated(ResetRequest, {"start": start}))


def test_a_context_with_an_action_outside_the_space_is_refused(ask: Ask) -> None:
    start = Start(frames=np.zeros((3, 8, 8, 3), np.uint8), actions=np.array([0, 3]))
    with pytest.raises(InvalidActionError, match="action 3 is not in Discrete"):
        ask(engine_with(fake_world()), ResetRequest(start=start))


def test_one_frame_needs_no_actions(ask: Ask) -> None:
    for discrete in (True, False):
        frame = np.zeros((1, 8, 8, 3), np.uint8)
        for start in (Start(frames=frame), Start(frames=frame, actions=[])):
            engine = engine_with(fake_world(discrete=discrete))
            assert ask(engine, ResetRequest(start=start, seed=1)).step == 0
