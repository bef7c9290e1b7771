"""What a body may be: strict types, finite numbers, and errors that say where and what."""

import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dreamserve.api.problems import from_validation
from dreamserve.api.schemas import Body, Plan, Reset, Sample, Start, Step
from dreamserve.engine import types as engine
from dreamserve_protocol.errors import (
    CallerError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)

NAN, INF = float("nan"), float("inf")
SID = "a-session_1"


def packed(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def refusal(model: type[Body], fields: dict[str, Any]) -> CallerError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    return from_validation(caught.value)


def step(**fields: Any) -> Step:
    return Step.model_validate({"session_id": SID, "action": 0, **fields})


BAD: list[tuple[type[Body], dict[str, Any], type[CallerError], str]] = [
    (Reset, {"seeds": 1}, InvalidRequestError, "seeds: is not a known field"),
    (Reset, {"x" * 500: 1}, InvalidRequestError, "xx: is not a known field"),
    (Reset, {"seed": True}, InvalidRequestError, "seed: .*integer"),
    (Reset, {"seed": 1.0}, InvalidRequestError, "seed: .*integer"),
    (Reset, {"seed": "1"}, InvalidRequestError, "seed: .*integer"),
    (Reset, {"seed": -1}, InvalidRequestError, "seed: .*greater than or equal to 0"),
    (Reset, {"seed": 2**53}, InvalidRequestError, "seed: .*less than or equal to 9007199254740991"),
    (Reset, {"session_id": ""}, InvalidRequestError, "session_id: "),
    (Reset, {"session_id": "a b"}, InvalidRequestError, "session_id: .*pattern"),
    (Reset, {"session_id": "a\n"}, InvalidRequestError, "session_id: .*pattern"),
    (Reset, {"session_id": "x" * 129}, InvalidRequestError, "session_id: .*128"),
    (Reset, {"session_id": 7}, InvalidRequestError, "session_id: .*string"),
    (Reset, {"temperature": NAN}, NotFiniteInputError, "temperature: .*finite"),
    (Reset, {"temperature": INF}, NotFiniteInputError, "temperature: .*finite"),
    (Reset, {"temperature": -0.1}, InvalidRequestError, "temperature: "),
    (Reset, {"temperature": True}, InvalidRequestError, "temperature: .*number"),
    (Reset, {"temperature": "1"}, InvalidRequestError, "temperature: .*number"),
    (Reset, {"include": ["mixture"]}, InvalidRequestError, "include.0: .*'frame' or 'state'"),
    (Reset, {"include": "frame"}, InvalidRequestError, "include: .*list"),
    (Reset, {"start": {}}, InvalidRequestError, "start: give exactly one of bank, latent, frames"),
    (Reset, {"start": {"bank": 1, "latent": [0.0]}}, InvalidRequestError, "exactly one"),
    (Reset, {"start": {"bank": -1}}, InvalidRequestError, "start.bank: "),
    (Reset, {"start": {"latent": [0.0], "actions": [1]}}, InvalidRequestError, "go with frames"),
    (Reset, {"start": {"latent": [0.0, NAN]}}, NotFiniteInputError, r"start.latent: .*\[1\]"),
    (Reset, {"start": {"latent": [1e39]}}, NotFiniteInputError, "float32"),
    (Reset, {"start": {"latent": [[1.0]]}}, InvalidRequestError, r"1 axes \(Z,\).*\[1, 1\]"),
    (Reset, {"start": {"latent": [True]}}, InvalidRequestError, r"\[0\] is bool"),
    (Reset, {"start": {"latent": ["1"]}}, InvalidRequestError, r"\[0\] is str"),
    (Reset, {"start": {"latent": 3}}, InvalidRequestError, "list of numbers"),
    (Reset, {"start": {"frames": [[[1]]]}}, InvalidRequestError, r"4 axes \(F, H, W, C\)"),
    (Reset, {"start": {"frames": [[[[256]]]]}}, InvalidRequestError, "from 0 to 255"),
    (Reset, {"start": {"frames": [[[[-1]]]]}}, InvalidRequestError, "from 0 to 255"),
    (Reset, {"start": {"frames": [[[[0.5]]]]}}, InvalidRequestError, "integers"),
    (Reset, {"start": {"frames": [[[[1], [1, 2]]]]}}, InvalidRequestError, "rectangular"),
    (Reset, {"start": {"frames": [[[[1], 2]]]}}, InvalidRequestError, "must be a number|list"),
    (Reset, {"start": {"frames": [[[[1]]]] * 2}}, InvalidRequestError, "need 1 actions"),
    (Step, {"session_id": SID}, InvalidRequestError, "action: Field required"),
    (Step, {"action": 0}, InvalidRequestError, "session_id: Field required"),
    (Step, {"session_id": SID, "action": True}, InvalidActionError, "action: .*integer"),
    (Step, {"session_id": SID, "action": 1.0}, InvalidActionError, "action: .*integer"),
    (Step, {"session_id": SID, "action": "left"}, InvalidActionError, "action: .*Discrete"),
    (Step, {"session_id": SID, "action": None}, InvalidActionError, "action: "),
    (Step, {"session_id": SID, "action": [[0.5]]}, InvalidActionError, "action: .*1 axes"),
    (Step, {"session_id": SID, "action": [0.5, False]}, InvalidActionError, "bool"),
    (Step, {"session_id": SID, "action": [0.5, NAN]}, NotFiniteInputError, "action: "),
    (Step, {"session_id": SID, "action": 0, "step": 0}, InvalidRequestError, "step: "),
    (Step, {"session_id": SID, "action": 0, "step": True}, InvalidRequestError, "step: "),
    (Step, {"session_id": SID, "action": 0, "observation": 1}, InvalidRequestError, "observation"),
    (
        Step,
        {"session_id": SID, "action": 0, "observation": [[1, 2]]},
        InvalidRequestError,
        "observation: must be a frame",
    ),
    (Sample, {"futures": 1, "horizon": 1}, InvalidRequestError, "give session_id, or start"),
    (
        Sample,
        {"futures": 1, "horizon": 1, "session_id": SID, "world": "w"},
        InvalidRequestError,
        "not both",
    ),
    (Sample, {"futures": 0, "horizon": 1, "session_id": SID}, InvalidRequestError, "futures: "),
    (Sample, {"futures": 1, "horizon": 0, "session_id": SID}, InvalidRequestError, "horizon: "),
    (
        Sample,
        {"futures": 1, "horizon": 2, "session_id": SID, "actions": [1]},
        InvalidRequestError,
        "horizon 2 needs as many actions, not 1",
    ),
    (
        Sample,
        {"futures": 1, "horizon": 1, "session_id": SID, "actions": [1], "policy": "random"},
        InvalidRequestError,
        "actions or policy",
    ),
    (
        Sample,
        {"futures": 1, "horizon": 1, "session_id": SID, "actions": [0.5]},
        InvalidActionError,
        r"actions: .*\(H, A\)",
    ),
    (
        Sample,
        {"futures": 1, "horizon": 1, "session_id": SID, "include": ["frames", "state"]},
        InvalidRequestError,
        "include.1: .*'components'",
    ),
    (Plan, {"session_id": SID, "planner": "magic"}, InvalidRequestError, "planner: .*'cem'"),
    (Plan, {"session_id": SID, "discount": 1.1}, InvalidRequestError, "discount: "),
    (Plan, {"session_id": SID, "candidates": 0}, InvalidRequestError, "candidates: "),
    (Plan, {"session_id": SID, "budget_ms": 0}, InvalidRequestError, "budget_ms: .*equal to 1"),
    (Plan, {"session_id": SID, "objective": {"rewrad": 1}}, InvalidRequestError, "rewrad"),
    (Plan, {"session_id": SID, "objective": {"target": ["x"]}}, InvalidRequestError, "target"),
    (Plan, {"session_id": SID, "options": {"std": "1"}}, InvalidRequestError, "options.std: "),
]


@pytest.mark.parametrize(("model", "fields", "error", "said"), BAD, ids=lambda v: str(v)[:50])
def test_a_bad_body_is_refused_by_the_right_error_and_told_where(
    model: type[Body], fields: dict[str, Any], error: type[CallerError], said: str
) -> None:
    refused = refusal(model, fields)
    assert type(refused) is error
    assert re.search(said, refused.detail)
    assert len(refused.detail) < 1000


def test_many_errors_are_counted_and_only_the_first_are_shown() -> None:
    refused = refusal(Reset, {f"field_{i}": i for i in range(20)})
    assert "field_4" in refused.detail
    assert refused.detail.endswith("and 15 more")


BAD_PACKED = [
    ({"dtype": "<f4", "shape": [2]}, "exactly the keys"),
    ({"dtype": "|O", "shape": [1], "data": b"12345678"}, "dtype must be one of"),
    ({"dtype": ["<f4"], "shape": [1], "data": b"1234"}, "dtype must be one of"),
    ({"dtype": "<f4", "shape": [2], "data": b"1234"}, "4 bytes, dtype <f4 and shape .* need 8"),
    ({"dtype": "<f4", "shape": [-1], "data": b""}, "list of sizes"),
    ({"dtype": "<f4", "shape": [True], "data": b"1234"}, "list of sizes"),
    ({"dtype": "<f4", "shape": 1, "data": b"1234"}, "list of sizes"),
    ({"dtype": "<f4", "shape": [2**31], "data": b"1234"}, "list of sizes"),
    ({"dtype": "<f4", "shape": [0, 2**30], "data": b""}, "1 axes"),
    ({"dtype": "<f4", "shape": [1] * 40, "data": b"1234"}, "at most 8 axes"),
    ({"dtype": "<f4", "shape": [1], "data": "1234"}, "must be binary"),
    ({"dtype": "<f4", "shape": [1], "data": b"\x00\x00\xc0\x7f"}, "not a finite"),
]


@pytest.mark.parametrize(("array", "said"), BAD_PACKED)
def test_a_bad_packed_array_is_refused(array: dict[str, Any], said: str) -> None:
    refused = refusal(Start, {"latent": array})
    assert re.search(said, refused.detail), refused.detail


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i4", "|u1"])
def test_a_packed_array_of_any_number_type_becomes_float32(dtype: str) -> None:
    start = Start.model_validate({"latent": packed(np.array([1, 2, 3], dtype))})
    assert isinstance(converted := start.to_engine(), engine.LatentStart)
    assert converted.latent.dtype == np.float32
    assert converted.latent.tolist() == [1, 2, 3]


def test_frames_are_uint8_in_both_forms() -> None:
    frames = np.arange(24).reshape(2, 2, 2, 3)
    for form in (frames.tolist(), packed(frames.astype("|u1")), packed(frames.astype("<i8"))):
        start = Start.model_validate({"frames": form, "actions": [1]}).to_engine()
        assert isinstance(start, engine.FramesStart)
        assert start.frames.dtype == np.uint8
        assert np.array_equal(start.frames, frames)
        assert start.actions.dtype == np.int64


def test_one_frame_needs_no_actions() -> None:
    start = Start.model_validate({"frames": [[[[0, 0, 0]]]]}).to_engine()
    assert isinstance(start, engine.FramesStart)
    assert len(start.actions) == 0


def test_an_action_is_an_integer_or_float32_numbers() -> None:
    assert step(action=2).to_engine().action == 2
    box = step(action=[1, 0.5]).to_engine().action
    assert box.dtype == np.float32
    assert box.tolist() == [1, 0.5]


def test_an_observation_is_a_frame_or_a_latent_by_its_axes() -> None:
    latent = step(observation=[1, 2]).to_engine().observation
    frame = step(observation=[[[1, 2, 3]]]).to_engine().observation
    assert latent is not None
    assert latent.dtype == np.float32
    assert frame is not None
    assert frame.dtype == np.uint8


def test_null_is_the_same_as_absent() -> None:
    assert Reset.model_validate({"seed": None, "world": None}) == Reset.model_validate({})


def test_every_field_reaches_the_engine() -> None:
    reset = Reset.model_validate(
        {
            "world": "w",
            "session_id": SID,
            "seed": 2**53 - 1,
            "temperature": 1,
            "start": {"bank": 3},
            "include": ["frame", "state"],
        }
    ).to_engine()
    assert reset.start == engine.Start(bank=3)
    assert (reset.world, reset.session_id, reset.seed) == ("w", SID, 2**53 - 1)
    assert (reset.temperature, reset.include) == (1.0, {"frame", "state"})

    sample = Sample.model_validate(
        {
            "futures": 2,
            "horizon": 3,
            "world": "w",
            "start": {"latent": [0.0]},
            "actions": [[1, 2], [3, 4], [5, 6]],
            "temperature": 0,
            "seed": 5,
            "include": ["frames", "mixture", "entropy", "most_likely", "components"],
        }
    ).to_engine(engine.SampleBounds(1, 2, 3))
    assert (sample.futures, sample.horizon, sample.world, sample.seed) == (2, 3, "w", 5)
    assert isinstance(sample.start, engine.LatentStart)
    assert sample.actions is not None
    assert (sample.actions.shape, sample.actions.dtype) == ((3, 2), np.float32)
    assert sample.temperature == 0
    assert sample.include == {"frame", "mixture", "entropy", "most_likely", "components"}
    assert sample.bounds == engine.SampleBounds(1, 2, 3)

    fields = {
        "session_id": SID,
        "planner": "random_shooting",
        "horizon": 3,
        "candidates": 4,
        "iterations": 5,
        "options": {"momentum": 0.5},
        "discount": 0.5,
        "particles": 2,
        "action_repeat": 3,
        "temperature": 0.25,
        "warm_start": False,
        "budget_ms": 20.0,
        "seed": 6,
    }
    plan = Plan.model_validate(fields).to_engine()
    assert {name: getattr(plan, name) for name in fields} == fields
    assert plan.objective is None
    weighed = {"survival": 0.5, "target": [1.0, 2.0], "target_weight": 3.0}
    objective = Plan.model_validate(fields | {"objective": weighed}).to_engine().objective
    assert objective is not None
    assert (objective.reward, objective.survival, objective.target_weight) == (0, 0.5, 3.0)
    np.testing.assert_array_equal(objective.target, np.float32([1, 2]))
