"""Many sessions in one request: the same results as one by one, with an error per row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import BANK_SIZE, fake_world
from dreamserve.engine.world import World
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, RowError, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    ProblemError,
    SessionExpiredError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]
STATE = ["state"]
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


def codes(answer: Any) -> dict[int, str]:
    """Return the code of each row's error, by row."""
    assert [error.row for error in answer.errors] == sorted({error.row for error in answer.errors})
    return {error.row: error.code for error in answer.errors}


def details(answer: Any) -> dict[int, str]:
    """Return the detail of each row's error, by row."""
    return {error.row: error.detail for error in answer.errors}


def actions_for(world: World, rows: int) -> Any:
    generator = np.random.default_rng(rows)
    space = world.spec.action_space
    return space.uniform(generator.random((rows, *space.shape), np.float32))


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
                assert RowError.of(i, single) in batch.errors
                continue
            assert i not in codes(batch)
            row = (batch.steps[i], batch.rewards[i], batch.terminated[i], batch.truncated[i])
            assert row == (single.step, single.reward, single.terminated, single.truncated)
            np.testing.assert_array_equal(batch.latents[i], single.latent)
    for session_id, action in zip(IDS, actions, strict=True):
        request = StepRequest(session_id, action, include=STATE)
        assert same(outcome(ask, one, request), outcome(ask, many, request))


def test_a_bad_row_gets_its_own_error_and_affects_no_other(ask: Ask, same: Same) -> None:
    engine = engine_with(fake_world(), fake_world("other"), ids=["a", "b", "ended", "late"])
    ask(engine, ResetRequest(session_id="ended", start=Start(latent=np.array([2, 0, 0, 0]))))
    ask(engine, StepRequest("ended", 2))
    ask(engine, ResetRequest("other", session_id="elsewhere"))
    ids = ["a", "nobody", "b", "ended", "late", "elsewhere", "a"]
    actions = np.array([1, 1, 7, 1, 1, 1, 1])
    answer = ask(engine, StepBatchRequest(ids, actions, steps=np.array([1, 1, 1, 2, 5, 1, 1])))
    assert codes(answer) == {
        1: "session_not_found",
        2: "invalid_action",
        3: "dream_ended",
        4: "step_conflict",
        5: "invalid_request",
        6: "invalid_request",
    }
    assert [error.status for error in answer.errors] == [404, 422, 409, 409, 422, 422]
    detail = details(answer)
    assert "ended at step 1" in detail[3]
    assert "the next step is 1, not 5" in detail[4]
    assert "for world fake, this session is of other" in detail[5]
    assert "already in an earlier row" in detail[6]
    assert answer.steps.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert not answer.latents[1:].any()
    for session_id, step in {"a": 1, "b": 0, "ended": 1, "late": 0, "elsewhere": 0}.items():
        assert ask(engine, SessionRequest(session_id)).step == step


def test_a_row_that_holds_nan_is_refused_alone(ask: Ask) -> None:
    engine = engine_with(fake_world(discrete=False))
    actions = np.zeros((len(IDS), 2))
    actions[3], actions[5] = (np.nan, 0), (0, 0.9)
    answer = ask(engine, StepBatchRequest(IDS, actions))
    assert codes(answer) == {3: "not_finite", 5: "invalid_action"}
    assert "second = 0.9 is not in Box" in details(answer)[5]


def test_a_row_that_becomes_nan_is_not_stepped(ask: Ask) -> None:
    engine = engine_with(fake_world(nan_action=2))
    answer = ask(engine, StepBatchRequest(IDS, np.array([2, *[1] * 10])))
    assert codes(answer) == {0: "dream_not_finite"}
    assert "step 1 gave NaN" in details(answer)[0]
    assert answer.steps.tolist() == [0, *[1] * 10]
    assert ask(engine, SessionRequest("s0")).step == 0


def test_a_slice_that_fails_fails_for_its_own_rows(ask: Ask) -> None:
    engine = engine_with(fake_world(failing_action=2), max_batch=4)
    answer = ask(engine, StepBatchRequest(IDS, np.array([1] * 5 + [2] + [1] * 5)))
    assert codes(answer) == dict.fromkeys([4, 5, 6, 7], "engine_failed")
    assert answer.steps.tolist() == [1] * 4 + [0] * 4 + [1] * 3


def test_a_repeated_batch_has_the_same_result(ask: Ask, same: Same) -> None:
    engine = engine_with(fake_world())
    request = StepBatchRequest(IDS, np.arange(11) % 3, steps=np.ones(11, np.int64))
    ask(engine, StepRequest("s4", 1, step=1))  # one row has been taken already
    first = ask(engine, request)
    assert not first.errors
    assert same(ask(engine, request), first)
    others = StepBatchRequest(IDS, (np.arange(11) + 1) % 3, steps=np.ones(11, np.int64))
    assert codes(ask(engine, others)) == dict.fromkeys(range(11), "step_conflict")
    assert ask(engine, SessionRequest("s0")).step == 1


def test_a_step_with_other_includes_is_not_the_same_as_a_row(ask: Ask) -> None:
    engine = engine_with(fake_world())
    ask(engine, StepRequest("s0", 1, step=1, include=STATE))
    answer = ask(engine, StepBatchRequest(["s0"], np.array([1]), steps=np.array([1])))
    assert codes(answer) == {0: "step_conflict"}
    assert "with other content" in details(answer)[0]


@pytest.mark.parametrize("number", [-1, 0])
def test_a_row_before_the_first_step_has_the_error_of_a_step(ask: Ask, number: int) -> None:
    engine = engine_with(fake_world())
    answer = ask(engine, StepBatchRequest(["s0", "s1"], [1, 1], steps=[1, number]))
    assert codes(answer) == {1: "invalid_request"}
    assert details(answer)[1] == f"a step's number is at least 1, not {number}"
    assert [ask(engine, SessionRequest(name)).step for name in ("s0", "s1")] == [1, 0]


def test_steps_run_between_the_slices_of_a_batch(ask: Ask) -> None:
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


ONE = ["s0"]
BAD_COLUMNS: list[tuple[type[Request], dict[str, Any], str]] = [
    (StepBatchRequest, {"session_ids": [], "actions": []}, "session_ids: .*at least 1 item"),
    (StepBatchRequest, {"session_ids": ONE, "actions": [1, 1]}, "actions has 2 rows, the batch 1"),
    (StepBatchRequest, {"session_ids": ONE, "actions": [1], "steps": [1, 1]}, "steps has 2 rows"),
    (StepBatchRequest, {"session_ids": ONE, "actions": [[1]]}, r"must be \['B'\], actions of Disc"),
    (StepBatchRequest, {"session_ids": ONE, "actions": [[[1]]]}, r"it has shape \[1, 1, 1\]"),
    (StepBatchRequest, {"session_ids": ONE, "actions": [1.0]}, r"must be .* dtype float64"),
    (ResetBatchRequest, {"count": 0}, "count: .*greater than or equal to 1"),
    (ResetBatchRequest, {"session_ids": []}, "session_ids: .*at least 1 item"),
    (ResetBatchRequest, {}, "exactly one of session_ids and count"),
    (ResetBatchRequest, {"count": 1, "session_ids": ONE}, "exactly one of session_ids and count"),
    (ResetBatchRequest, {"count": 2, "seeds": [1]}, "seeds has 1 rows, the batch 2"),
    (ResetBatchRequest, {"count": 1, "latents": [[0.0] * 3]}, r"latents must be \[1, 4\]"),
    (ResetBatchRequest, {"count": 1, "bank": [1], "latents": [[0.0] * 4]}, "give one of bank"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), BAD_COLUMNS)
def test_columns_that_do_not_fit_fail_as_a_whole(
    ask: Ask, kind: type[Request], fields: dict[str, Any], message: str
) -> None:
    engine = engine_with(fake_world())
    with pytest.raises((InvalidRequestError, InvalidActionError), match=message):
        ask(engine, validated(kind, fields))
    assert engine.session_count == len(IDS)


@pytest.mark.parametrize("max_batch", [256, 3])
def test_a_batch_of_resets_begins_what_single_resets_begin(
    any_world: World, ask: Ask, same: Same, max_batch: int
) -> None:
    one, many = Engine([any_world]), Engine([any_world], max_batch=max_batch)
    bank, seeds = np.arange(11) % any_world.bank_size, np.arange(11)
    temperatures = np.linspace(0, 2, 11, dtype=np.float32)
    request = ResetBatchRequest(session_ids=IDS, seeds=seeds, temperatures=temperatures, bank=bank)
    answer = ask(many, request)
    assert not answer.errors
    for i, session_id in enumerate(IDS):
        temperature, start = float(temperatures[i]), Start(bank=int(bank[i]))
        reset = ResetRequest(session_id=session_id, seed=i, temperature=temperature, start=start)
        single = ask(one, reset)
        np.testing.assert_array_equal(answer.latents[i], single.latent)
        step = StepRequest(session_id, actions_for(any_world, 11)[i], include=STATE)
        assert same(ask(one, step), ask(many, step))


def test_fields_missing_in_a_batch_of_resets_are_chosen_and_returned(ask: Ask) -> None:
    engine = Engine([fake_world(), fake_world("other")])
    answer = ask(engine, ResetBatchRequest(5))
    assert answer.world == "fake"
    assert len(set(answer.session_ids)) == len(set(answer.seeds.tolist())) == 5
    assert (answer.seeds >= 0).all()
    assert answer.temperatures.tolist() == [1] * 5
    again = ask(engine, ResetRequest(seed=int(answer.seeds[2])))
    np.testing.assert_array_equal(again.latent, answer.latents[2])
    assert ask(engine, ResetBatchRequest(1, world="other")).world == "other"


def test_a_bad_reset_gets_its_own_error_and_a_full_server_takes_what_it_can(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=3)
    answer = ask(
        engine,
        ResetBatchRequest(
            session_ids=["a", "a", "c", "d", "e", "f", "g"],
            seeds=np.array([1, 1, -1, 1, 1, 1, 1]),
            temperatures=np.array([1, 1, 1, np.nan, 1, 1, 1], np.float32),
            bank=np.array([0, 0, 0, 0, BANK_SIZE, 0, 0]),
        ),
    )
    assert {row: text.split(" must")[0] for row, text in details(answer).items()} == {
        1: "session a is already in an earlier row",
        2: "seed",
        3: "temperature",
        4: "the bank has entries 0 to 15",
    }
    assert codes(answer)[3] == "not_finite"
    assert engine.session_count == 3
    full = ask(engine, ResetBatchRequest(session_ids=["g", "h"]))
    assert codes(full) == {1: "overloaded"}


def test_a_failed_row_of_a_reset_has_zeros_in_every_column(ask: Ask) -> None:
    engine, seeds = Engine([fake_world()], capacity=1), np.array([7, -1, 9])
    answer = ask(engine, ResetBatchRequest(session_ids=["a", "b", "c"], seeds=seeds))
    assert codes(answer) == {1: "invalid_request", 2: "overloaded"}
    assert answer.seeds.tolist() == [7, 0, 0]
    assert answer.temperatures.tolist() == [1, 0, 0]
    assert answer.latents.any(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.1e6, -1.1e6])
def test_a_reset_at_an_unusable_latent_is_refused_alone(ask: Ask, number: float) -> None:
    engine, latents = Engine([fake_world()]), np.full((3, 4), 1e6, np.float32)
    latents[1, 2] = number
    answer = ask(engine, ResetBatchRequest(session_ids=["a", "b", "c"], latents=latents))
    assert codes(answer) == {1: "not_finite"}
    assert not answer.latents[1].any()
    np.testing.assert_array_equal(answer.latents[[0, 2]], latents[[0, 2]])
    assert engine.session_count == 2


def test_slots_are_used_again_without_a_leak(ask: Ask) -> None:
    engine = Engine([fake_world()], capacity=8)
    for _ in range(50):
        assert not ask(engine, ResetBatchRequest(session_ids=IDS[:8])).errors
        for session_id in IDS[:8]:
            ask(engine, DeleteRequest(session_id))
    assert engine.session_count == 0
    fresh = ask(engine, ResetBatchRequest(session_ids=IDS[:8], seeds=np.arange(8)))
    reused = ask(Engine([fake_world()]), ResetBatchRequest(session_ids=IDS[:8], seeds=np.arange(8)))
    np.testing.assert_array_equal(fresh.latents, reused.latents)


def test_a_batch_reports_which_of_its_sessions_has_expired(ask: Ask, clock: Any) -> None:
    # Shorter than the time between two sweeps, which would have removed it before the batch.
    engine = engine_with(fake_world(), ids=["old", "young"], session_ttl_s=0.5, clock=clock)
    clock.now_s = 0.4
    ask(engine, StepRequest("young", 1))
    clock.now_s = 0.6
    # The newer one first, because the first row's session determines the world.
    answer = ask(engine, StepBatchRequest(["young", "old"], np.array([1, 1])))
    assert [(one.row, one.code) for one in answer.errors] == [(1, SessionExpiredError.code)]
    assert answer.steps[0] == 2
