"""Many sessions in one request: the same dreams as one by one, and every row on its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import BANK_SIZE, fake_world
from dreamserve.engine.world import World
from dreamserve.spaces import DiscreteSpace
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    EngineFailedError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
    ProblemError,
    SessionExpiredError,
    SessionNotFoundError,
    StepConflictError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]
STATE = frozenset({"state"})
IDS = [f"s{i}" for i in range(11)]


def engine_with(*worlds: World, ids: list[str] = IDS, **options: Any) -> Engine:
    engine = Engine(list(worlds), **options)
    for seed, session_id in enumerate(ids):
        start = Start(bank=seed % worlds[0].bank_size)
        engine.submit(ResetRequest(session_id=session_id, seed=seed, start=start))
    for _ in ids:
        engine.turn()
    return engine


def outcome(ask: Ask, engine: Engine, request: Request) -> Any:
    try:
        return ask(engine, request)
    except ProblemError as error:
        return error


def actions_for(world: World, rows: int) -> Any:
    generator = np.random.default_rng(rows)
    space = world.spec.action_space
    if isinstance(space, DiscreteSpace):
        return generator.integers(0, space.n, rows)
    return generator.uniform(space.low, space.high, (rows, len(space.low))).astype(np.float32)


@pytest.mark.parametrize("max_batch", [256, 4, 1])
def test_a_batch_dreams_what_single_steps_dream(
    any_world: World, ask: Ask, same: Same, max_batch: int
) -> None:
    one, many = engine_with(any_world), engine_with(any_world, max_batch=max_batch)
    actions = actions_for(any_world, len(IDS))
    for _ in range(2):
        batch = ask(many, StepBatchRequest(IDS, actions))
        for i, session_id in enumerate(IDS):
            single = outcome(ask, one, StepRequest(session_id, actions[i]))
            if isinstance(single, ProblemError):
                assert same(batch.errors[i], single)
                continue
            row = (batch.steps[i], batch.rewards[i], batch.terminated[i], batch.truncated[i])
            assert row == (single.step, single.reward, single.terminated, single.truncated)
            np.testing.assert_array_equal(batch.latents[i], single.latent)
    for session_id, action in zip(IDS, actions, strict=True):
        request = StepRequest(session_id, action, include=STATE)
        assert same(outcome(ask, one, request), outcome(ask, many, request))


def test_a_bad_row_gets_its_own_error_and_harms_no_other(ask: Ask, same: Same) -> None:
    engine = engine_with(fake_world(), fake_world("other"), ids=["a", "b", "ended", "late"])
    ask(engine, ResetRequest(session_id="ended", start=Start(latent=np.array([2, 0, 0, 0]))))
    ask(engine, StepRequest("ended", 2))
    ask(engine, ResetRequest("other", "elsewhere"))
    ids = ["a", "nobody", "b", "ended", "late", "elsewhere", "a"]
    actions = np.array([1, 1, 7, 1, 1, 1, 1])
    answer = ask(engine, StepBatchRequest(ids, actions, np.array([1, 1, 1, 2, 5, 1, 1])))
    assert {row: type(error) for row, error in answer.errors.items()} == {
        1: SessionNotFoundError,
        2: InvalidActionError,
        3: StepConflictError,
        4: StepConflictError,
        5: InvalidRequestError,
        6: InvalidRequestError,
    }
    assert "ended with step 1" in str(answer.errors[3])
    assert "the next step is 1, not 5" in str(answer.errors[4])
    assert "of world fake, this session of other" in str(answer.errors[5])
    assert answer.steps.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert not answer.latents[1:].any()
    for session_id, step in {"a": 1, "b": 0, "ended": 1, "late": 0, "elsewhere": 0}.items():
        assert ask(engine, SessionRequest(session_id)).step == step


def test_a_row_that_holds_nan_is_refused_alone(ask: Ask) -> None:
    engine = engine_with(fake_world(discrete=False))
    actions = np.zeros((len(IDS), 2))
    actions[3], actions[5] = (np.nan, 0), (0, 0.9)
    answer = ask(engine, StepBatchRequest(IDS, actions))
    kinds = {row: type(error) for row, error in answer.errors.items()}
    assert kinds == {3: NotFiniteInputError, 5: InvalidActionError}
    assert "second = 0.9 is not in Box" in str(answer.errors[5])


def test_a_row_that_comes_out_as_nan_is_not_taken(ask: Ask) -> None:
    engine = engine_with(fake_world(nan_action=2))
    answer = ask(engine, StepBatchRequest(IDS, np.array([2, *[1] * 10])))
    assert list(answer.errors) == [0]
    assert "step 1 came out as NaN" in str(answer.errors[0])
    assert answer.steps.tolist() == [0, *[1] * 10]
    assert ask(engine, SessionRequest("s0")).step == 0


def test_a_slice_that_fails_fails_for_its_own_rows(ask: Ask) -> None:
    engine = engine_with(fake_world(failing_action=2), max_batch=4)
    answer = ask(engine, StepBatchRequest(IDS, np.array([1] * 5 + [2] + [1] * 5)))
    assert {type(error) for error in answer.errors.values()} == {EngineFailedError}
    assert list(answer.errors) == [4, 5, 6, 7]
    assert answer.steps.tolist() == [1] * 4 + [0] * 4 + [1] * 3


def test_a_batch_that_is_sent_again_is_answered_the_same(ask: Ask, same: Same) -> None:
    engine = engine_with(fake_world())
    request = StepBatchRequest(IDS, np.arange(11) % 3, np.ones(11, np.int64))
    ask(engine, StepRequest("s4", 1, step=1))  # one row has been taken already
    first = ask(engine, request)
    assert not first.errors
    assert same(ask(engine, request), first)
    other = ask(engine, StepBatchRequest(IDS, (np.arange(11) + 1) % 3, np.ones(11, np.int64)))
    assert {type(error) for error in other.errors.values()} == {StepConflictError}
    assert len(other.errors) == 11
    assert ask(engine, SessionRequest("s0")).step == 1


def test_a_step_that_included_more_is_not_the_same_as_a_row(ask: Ask) -> None:
    engine = engine_with(fake_world())
    ask(engine, StepRequest("s0", 1, step=1, include=STATE))
    answer = ask(engine, StepBatchRequest(["s0"], np.array([1]), np.array([1])))
    assert "asked for differently" in str(answer.errors[0])


def test_steps_go_on_between_the_slices_of_a_batch(ask: Ask) -> None:
    engine = engine_with(fake_world(), max_batch=2)
    batch = engine.submit(StepBatchRequest(IDS, np.ones(11, np.int64)))
    engine.turn()
    step = engine.submit(StepRequest("s10", 1))
    engine.turn()
    assert step.result(0).step == 1
    assert not batch.done()
    for _ in range(10):
        engine.turn()
    assert batch.result(0).steps.tolist() == [1] * 10 + [2]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (StepBatchRequest([], np.array([], np.int64)), "at least one row"),
        (StepBatchRequest(["s0"], np.array([1, 1])), "actions has 2 rows, the batch 1"),
        (StepBatchRequest(["s0"], np.array([1]), np.array([1, 1])), "steps has 2 rows"),
        (StepBatchRequest(["s0"], np.array([[1]])), r"shape \[1, 1\]: must be \[1\]"),
        (StepBatchRequest(["s0"], np.array([1.0])), "must be integers of Discrete"),
        (ResetBatchRequest(0), "at least one row"),
        (ResetBatchRequest(2, seeds=np.array([1])), "seeds has 1 rows, the batch 2"),
        (ResetBatchRequest(1, latents=np.zeros((1, 3))), r"latents must be \[1, 4\]"),
        (ResetBatchRequest(1, bank=np.array([1]), latents=np.zeros((1, 4))), "not both"),
    ],
)
def test_columns_that_do_not_fit_fail_as_a_whole(ask: Ask, request_: Request, said: str) -> None:
    engine = engine_with(fake_world())
    with pytest.raises((InvalidRequestError, InvalidActionError), match=said):
        ask(engine, request_)


@pytest.mark.parametrize("max_batch", [256, 3])
def test_a_batch_of_resets_begins_what_single_resets_begin(
    any_world: World, ask: Ask, same: Same, max_batch: int
) -> None:
    one, many = Engine([any_world]), Engine([any_world], max_batch=max_batch)
    bank, seeds = np.arange(11) % any_world.bank_size, np.arange(11)
    heat = np.linspace(0, 2, 11, dtype=np.float32)
    answer = ask(many, ResetBatchRequest(11, None, IDS, seeds, heat, bank))
    assert not answer.errors
    for i, session_id in enumerate(IDS):
        single = ask(
            one, ResetRequest(None, session_id, i, float(heat[i]), Start(bank=int(bank[i])))
        )
        np.testing.assert_array_equal(answer.latents[i], single.latent)
        step = StepRequest(session_id, actions_for(any_world, 11)[i], include=STATE)
        assert same(ask(one, step), ask(many, step))


def test_what_is_left_out_of_a_batch_of_resets_is_chosen_and_told(ask: Ask) -> None:
    engine = Engine([fake_world(), fake_world("other")])
    answer = ask(engine, ResetBatchRequest(5))
    assert answer.world == "fake"
    assert len(set(answer.session_ids)) == len(set(answer.seeds.tolist())) == 5
    assert (answer.seeds >= 0).all()
    assert answer.temperatures.tolist() == [1] * 5
    again = ask(engine, ResetRequest(seed=int(answer.seeds[2])))
    np.testing.assert_array_equal(again.latent, answer.latents[2])
    assert ask(engine, ResetBatchRequest(1, "other")).world == "other"


def test_a_bad_reset_gets_its_own_error_and_a_full_server_takes_what_it_can(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=3)
    answer = ask(
        engine,
        ResetBatchRequest(
            7,
            session_ids=["a", "a", "c", "d", "e", "f", "g"],
            seeds=np.array([1, 1, -1, 1, 1, 1, 1]),
            temperatures=np.array([1, 1, 1, np.nan, 1, 1, 1], np.float32),
            bank=np.array([0, 0, 0, 0, BANK_SIZE, 0, 0]),
        ),
    )
    assert {row: str(error).split(" must")[0] for row, error in answer.errors.items()} == {
        1: "session a is in an earlier row already",
        2: "seed",
        3: "temperature",
        4: "the bank has entries 0 to 15",
    }
    assert engine.session_count == 3
    full = ask(engine, ResetBatchRequest(2, session_ids=["g", "h"]))
    assert {row: type(error) for row, error in full.errors.items()} == {1: OverloadedError}
    latents = ask(engine, ResetBatchRequest(1, session_ids=["g"], latents=np.full((1, 4), np.inf)))
    assert "NaN or infinity" in str(latents.errors[0])


def test_slots_are_used_again_without_a_leak(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=8)
    for _ in range(50):
        assert not ask(engine, ResetBatchRequest(8, session_ids=IDS[:8])).errors
        for session_id in IDS[:8]:
            ask(engine, DeleteRequest(session_id))
    assert engine.session_count == 0
    fresh = ask(engine, ResetBatchRequest(8, session_ids=IDS[:8], seeds=np.arange(8)))
    reused = ask(Engine([fake_world()]), ResetBatchRequest(8, None, IDS[:8], np.arange(8)))
    np.testing.assert_array_equal(fresh.latents, reused.latents)


def test_a_batch_finds_out_which_of_its_sessions_has_expired(ask: Ask, clock: Any) -> None:
    # Shorter than the time between two sweeps, which would have found it before the batch does.
    engine = engine_with(fake_world(), ids=["old", "young"], session_ttl_s=0.5, clock=clock)
    clock.now_s = 0.4
    ask(engine, StepRequest("young", 1))
    clock.now_s = 0.6
    # The young one first, for the first is asked for its world.
    answer = ask(engine, StepBatchRequest(["young", "old"], np.array([1, 1])))
    assert [(i, type(error)) for i, error in answer.errors.items()] == [(1, SessionExpiredError)]
    assert answer.steps[0] == 2
