"""Valid requests: strict types, finite numbers, and errors that say where and what."""

import re
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamserve import validation
from dreamserve.api.inference.sequences import InferRequest
from dreamserve.validation import validated
from dreamserve_protocol.arrays import pack
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    CallerError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)
from dreamserve_protocol.markers import Message
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.policies import LinearPolicy
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.wire import fields_of

NAN, INF = float("nan"), float("inf")
SID = "a-session_1"


def refusal(kind: type[Message], fields: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        validated(kind, fields)
    return caught.value


def step(**fields: Any) -> StepRequest:
    return validated(StepRequest, {"session_id": SID, "action": 0, **fields})


def policy(given: Any) -> dict[str, Any]:
    return {"policy": given, "episodes": 1, "max_steps": 2}


BAD: list[tuple[type[Message], dict[str, Any], type[CallerError], str]] = [
    (ResetRequest, {"seeds": 1}, InvalidRequestError, "seeds: is not a known field"),
    (ResetRequest, {"x" * 500: 1}, InvalidRequestError, "xx: is not a known field"),
    (ResetRequest, {"seed": True}, InvalidRequestError, "seed: .*integer"),
    (ResetRequest, {"seed": 1.0}, InvalidRequestError, "seed: .*integer"),
    (ResetRequest, {"seed": "1"}, InvalidRequestError, "seed: .*integer"),
    (ResetRequest, {"seed": -1}, InvalidRequestError, "seed: .*greater than or equal to 0"),
    (
        ResetRequest,
        {"seed": 2**53},
        InvalidRequestError,
        "seed: .*less than or equal to 9007199254740991",
    ),
    (ResetRequest, {"session_id": ""}, InvalidRequestError, "session_id: "),
    (ResetRequest, {"session_id": "a b"}, InvalidRequestError, "session_id: .*pattern"),
    (ResetRequest, {"session_id": "a\n"}, InvalidRequestError, "session_id: .*pattern"),
    (ResetRequest, {"session_id": "x" * 129}, InvalidRequestError, "session_id: .*128"),
    (ResetRequest, {"session_id": 7}, InvalidRequestError, "session_id: .*string"),
    (ResetRequest, {"temperature": NAN}, NotFiniteInputError, "temperature: .*finite"),
    (ResetRequest, {"temperature": INF}, NotFiniteInputError, "temperature: .*finite"),
    (ResetRequest, {"temperature": -0.1}, InvalidRequestError, "temperature: "),
    (ResetRequest, {"temperature": True}, InvalidRequestError, "temperature: .*number"),
    (ResetRequest, {"temperature": "1"}, InvalidRequestError, "temperature: .*number"),
    (
        ResetRequest,
        {"include": ["mixture"]},
        InvalidRequestError,
        "include.0: .*'frame', 'vector' or 'state'",
    ),
    (ResetRequest, {"include": "frame"}, InvalidRequestError, "include: .*list"),
    (
        ResetRequest,
        {"start": {}},
        InvalidRequestError,
        "start: give exactly one of bank, latent, frames, vectors, age",
    ),
    (ResetRequest, {"start": {"bank": 1, "latent": [0.0]}}, InvalidRequestError, "exactly one"),
    (ResetRequest, {"start": {"bank": -1}}, InvalidRequestError, "start.bank: "),
    (
        ResetRequest,
        {"start": {"latent": [0.0], "actions": [1]}},
        InvalidRequestError,
        "go with frames",
    ),
    (
        ResetRequest,
        {"start": {"latent": [0.0, NAN]}},
        NotFiniteInputError,
        r"start.latent: .*\[1\]",
    ),
    (ResetRequest, {"start": {"latent": [1e39]}}, NotFiniteInputError, "float32"),
    (
        ResetRequest,
        {"start": {"latent": [[1.0]]}},
        InvalidRequestError,
        r"must be \(Z,\) float32.*\[1, 1\]",
    ),
    (ResetRequest, {"start": {"latent": [True]}}, InvalidRequestError, r"\[0\] is bool"),
    (ResetRequest, {"start": {"latent": ["1"]}}, InvalidRequestError, r"\[0\] is str"),
    (
        ResetRequest,
        {"start": {"latent": 3}},
        InvalidRequestError,
        r"start.latent: must be \(Z,\) float32, it has shape \[\]",
    ),
    (
        ResetRequest,
        {"start": {"frames": [[[1]]]}},
        InvalidRequestError,
        r"must be \(F, H, W, C\) uint8, it has shape \[1, 1, 1\]",
    ),
    (ResetRequest, {"start": {"frames": [[[[256]]]]}}, InvalidRequestError, "from 0 to 255"),
    (ResetRequest, {"start": {"frames": [[[[-1]]]]}}, InvalidRequestError, "from 0 to 255"),
    (ResetRequest, {"start": {"frames": [[[[0.5]]]]}}, InvalidRequestError, "float64"),
    (ResetRequest, {"start": {"frames": [[[[1], [1, 2]]]]}}, InvalidRequestError, "rectangular"),
    (
        ResetRequest,
        {"start": {"frames": [[[[1], 2]]]}},
        InvalidRequestError,
        "must be a number|list",
    ),
    (ResetRequest, {"start": {"frames": [[[[1]]]] * 2}}, InvalidRequestError, "need 1 actions"),
    (
        ResetRequest,
        {"start": {"age": -1}},
        InvalidRequestError,
        "^start.age: [^.:]*'beginning' or 'any', or: [^.:]*greater than or equal to 0$",
    ),
    (ResetRequest, {"start": {"age": {}}}, InvalidRequestError, "^start.age: [^;.]*integer$"),
    (ResetRequest, {"start": 5}, InvalidRequestError, "^start: Input should be an object$"),
    (ResetRequest, {"start": Start(age=True)}, InvalidRequestError, "^start.age: [^;.]*integer$"),
    (
        InferRequest,
        {"inputs": [], "parameters": {"sequence_id": 1.5}},
        InvalidRequestError,
        "^parameters.sequence_id: [^.]*integer, or: [^.]*string$",
    ),
    (RolloutRequest, policy(5), InvalidRequestError, "^policy: Input should be an object"),
    (RolloutRequest, policy({"kind": "linear"}), InvalidRequestError, "^policy.weights: Field"),
    (
        RolloutRequest,
        policy({"kind": "random", "x": 1}),
        InvalidRequestError,
        "^policy.x: is not a known field$",
    ),
    (
        RolloutRequest,
        policy(LinearPolicy(np.zeros((1, 1)), inputs=["latent", 1])),  # type: ignore[list-item]  # wrong on purpose
        InvalidRequestError,
        "^policy.inputs.1: [^;.]*string$",
    ),
    (StepRequest, {"session_id": SID}, InvalidRequestError, "action: Field required"),
    (StepRequest, {"action": 0}, InvalidRequestError, "session_id: Field required"),
    (StepRequest, {"session_id": SID, "action": True}, InvalidActionError, "action: .*integer"),
    (StepRequest, {"session_id": SID, "action": 1.0}, InvalidActionError, "action: .*integer"),
    (
        StepRequest,
        {"session_id": SID, "action": "left"},
        InvalidActionError,
        r"action: must be an integer or \(A,\) int64 or \(A,\) float32",
    ),
    (StepRequest, {"session_id": SID, "action": None}, InvalidActionError, "action: "),
    (
        StepRequest,
        {"session_id": SID, "action": [[0.5]]},
        InvalidActionError,
        r"action: must be an integer or \(A,\) int64 or \(A,\) float32, it has shape \[1, 1\]",
    ),
    (StepRequest, {"session_id": SID, "action": [0.5, False]}, InvalidActionError, "bool"),
    (StepRequest, {"session_id": SID, "action": [0.5, NAN]}, NotFiniteInputError, "action: "),
    (StepRequest, {"session_id": SID, "action": 0, "step": 0}, InvalidRequestError, "step: "),
    (StepRequest, {"session_id": SID, "action": 0, "step": True}, InvalidRequestError, "step: "),
    (
        StepRequest,
        {"session_id": SID, "action": 0, "observation": 1},
        InvalidRequestError,
        "observation",
    ),
    (
        StepRequest,
        {"session_id": SID, "action": 0, "observation": [[1, 2]]},
        InvalidRequestError,
        r"observation: must be \(H, W, C\) uint8 or \(Z,\) float32, it has shape \[1, 2\]",
    ),
    (SampleRequest, {"futures": 1, "horizon": 1}, InvalidRequestError, "give session_id, or start"),
    (
        SampleRequest,
        {"futures": 1, "horizon": 1, "session_id": SID, "world": "w"},
        InvalidRequestError,
        "not both",
    ),
    (
        SampleRequest,
        {"futures": 0, "horizon": 1, "session_id": SID},
        InvalidRequestError,
        "futures: ",
    ),
    (
        SampleRequest,
        {"futures": 1, "horizon": 0, "session_id": SID},
        InvalidRequestError,
        "horizon: ",
    ),
    (
        SampleRequest,
        {"futures": 1, "horizon": 2, "session_id": SID, "actions": [1]},
        InvalidRequestError,
        "horizon 2 needs as many actions, not 1",
    ),
    (
        SampleRequest,
        {"futures": 1, "horizon": 1, "session_id": SID, "actions": [1], "policy": "random"},
        InvalidRequestError,
        "actions or policy",
    ),
    (
        SampleRequest,
        {"futures": 1, "horizon": 1, "session_id": SID, "actions": [0.5]},
        InvalidActionError,
        r"actions: must be \(H,\) int64 .*, it has shape \[1\] and dtype float64",
    ),
    (
        SampleRequest,
        {"futures": 1, "horizon": 1, "session_id": SID, "include": ["frames", "state"]},
        InvalidRequestError,
        "include.1: .*'components'",
    ),
    *(
        (
            SampleRequest,
            {"futures": 1, "horizon": 1, "session_id": SID, "policy": policy},
            InvalidRequestError,
            "policy.*kind must be one of random, constant, linear, bundled",
        )
        for policy in ({}, {"kind": "x" * 9000}, "magic")
    ),
    (PlanRequest, {"session_id": SID, "planner": "magic"}, InvalidRequestError, "planner: .*'cem'"),
    (PlanRequest, {"session_id": SID, "discount": 1.1}, InvalidRequestError, "discount: "),
    (PlanRequest, {"session_id": SID, "candidates": 0}, InvalidRequestError, "candidates: "),
    (
        PlanRequest,
        {"session_id": SID, "budget_ms": 0},
        InvalidRequestError,
        "budget_ms: .*equal to 1",
    ),
    (PlanRequest, {"session_id": SID, "objective": {"rewrad": 1}}, InvalidRequestError, "rewrad"),
    (
        PlanRequest,
        {"session_id": SID, "objective": {"target": ["x"]}},
        InvalidRequestError,
        "target",
    ),
    (
        PlanRequest,
        {"session_id": SID, "options": {"std": "1"}},
        InvalidRequestError,
        "options.std: ",
    ),
]


@pytest.mark.parametrize(("model", "fields", "error", "expected"), BAD, ids=lambda v: str(v)[:50])
def test_a_bad_body_is_refused_with_the_right_error_and_place(
    model: type[Message], fields: dict[str, Any], error: type[CallerError], expected: str
) -> None:
    refused = refusal(model, fields)
    assert type(refused) is error
    assert re.search(expected, refused.detail)
    assert len(refused.detail) < 1000


LARGE = st.integers(2**63, 2**1000) | st.integers(-(2**1000), -(2**63) - 1)


@given(number=LARGE)
def test_an_integer_of_any_size_is_told_the_range_whatever_the_format(number: int) -> None:
    for value in (number, orjson.loads(str(number))):  # which makes a float of a large one
        for model, fields in (
            (ResetRequest, {"seed": value}),
            (ResetRequest, {"start": {"bank": value}}),
            (SampleRequest, {"session_id": "a", "futures": value, "horizon": 1}),
            (StepRequest, {"session_id": "a", "action": 1, "step": value}),
        ):
            told = "less than or equal to 9007199254740991" if number > 0 else "greater than or"
            assert told in refusal(model, fields).detail
        for model, fields in (
            (ResetBatchRequest, {"count": 1, "seeds": [value]}),
            (ResetBatchRequest, {"count": 2, "bank": [0, value]}),
            (StepBatchRequest, {"session_ids": ["a"], "actions": [value]}),
            (StepRequest, {"session_id": "a", "action": value}),
        ):
            told = "must hold integers from -9223372036854775808 to 9223372036854775807"
            assert told in refusal(model, fields).detail


def test_a_number_with_a_fraction_is_no_integer() -> None:
    for number in (1.5, 2.0**52 + 0.5):
        assert "valid integer" in refusal(ResetRequest, {"seed": number}).detail
        assert "dtype float64" in refusal(ResetBatchRequest, {"count": 1, "seeds": [number]}).detail
    large_and_not = {"count": 2, "seeds": [0.5, 1e300]}
    assert "dtype float64" in refusal(ResetBatchRequest, large_and_not).detail


def test_a_bad_action_with_another_error_is_a_bad_request_that_names_both() -> None:
    refused = refusal(StepRequest, {"session_id": "s", "action": True, "step": 0})
    assert type(refused) is InvalidRequestError
    assert re.search("action: .*; step: ", refused.detail)


def test_many_errors_are_counted_and_only_the_first_are_shown() -> None:
    refused = refusal(ResetRequest, {f"field_{i}": i for i in range(20)})
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
    (
        {"dtype": "<f4", "shape": [0, 2**30], "data": b""},
        r"must be \(Z,\).* shape \[0, 1073741824\]",
    ),
    ({"dtype": "<f4", "shape": [1] * 40, "data": b"1234"}, "at most 8 axes"),
    ({"dtype": "<f4", "shape": [1], "data": "1234"}, "must be binary"),
    ({"dtype": "<f4", "shape": [1], "data": b"\x00\x00\xc0\x7f"}, "not a finite"),
]


@pytest.mark.parametrize(("array", "expected"), BAD_PACKED)
def test_a_bad_packed_array_is_refused(array: dict[str, Any], expected: str) -> None:
    refused = refusal(Start, {"latent": array})
    assert re.search(expected, refused.detail), refused.detail


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i4", "|u1"])
def test_a_packed_array_of_any_number_type_becomes_float32(dtype: str) -> None:
    latent = validated(Start, {"latent": pack(np.array([1, 2, 3], dtype))}).latent
    assert isinstance(latent, np.ndarray)
    assert latent.dtype == np.float32
    assert latent.tolist() == [1, 2, 3]


def test_frames_are_uint8_in_both_forms() -> None:
    frames = np.arange(24).reshape(2, 2, 2, 3)
    for form in (frames.tolist(), pack(frames.astype("|u1")), pack(frames.astype("<i8"))):
        start = validated(Start, {"frames": form, "actions": [1]})
        assert isinstance(start.frames, np.ndarray)
        assert start.frames.dtype == np.uint8
        assert np.array_equal(start.frames, frames)
        assert isinstance(start.actions, np.ndarray)
        assert start.actions.dtype == np.int64


def test_one_frame_needs_no_actions() -> None:
    start = validated(Start, {"frames": [[[[0, 0, 0]]]]})
    assert np.shape(start.frames) == (1, 1, 1, 3)
    assert start.actions is None


def test_an_action_is_an_integer_or_float32_numbers() -> None:
    assert step(action=2).action == 2
    box = step(action=[1, 0.5]).action
    assert isinstance(box, np.ndarray)
    assert box.dtype == np.float32
    assert box.tolist() == [1, 0.5]


def test_an_observation_is_a_frame_or_a_latent_by_its_axes() -> None:
    latent = step(observation=[1, 2]).observation
    frame = step(observation=[[[1, 2, 3]]]).observation
    assert isinstance(latent, np.ndarray)
    assert latent.dtype == np.float32
    assert isinstance(frame, np.ndarray)
    assert frame.dtype == np.uint8


def test_null_is_the_same_as_absent() -> None:
    nulls = validated(ResetRequest, {"seed": None, "world": None, "start": None})
    assert fields_of(nulls) == fields_of(validated(ResetRequest, {}))


def test_a_request_built_by_hand_passes_the_same_checks() -> None:
    built = validated(StepRequest, StepRequest(SID, np.array([0.5, 0.25]), step=1))
    assert built.action.dtype == np.float32
    with pytest.raises(InvalidRequestError, match="step: "):
        validated(StepRequest, StepRequest(SID, 0, step=0))


FULL: list[tuple[type[Message], dict[str, Any]]] = [
    (
        ResetRequest,
        {
            "world": "w",
            "session_id": SID,
            "seed": 2**53 - 1,
            "temperature": 1.5,
            "start": {"bank": 3},
            "rewind_window": 4,
            "include": ["frame", "state"],
        },
    ),
    (
        SampleRequest,
        {
            "futures": 2,
            "horizon": 3,
            "world": "w",
            "start": {"latent": [0.0]},
            "actions": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "temperature": 0,
            "seed": 5,
            "include": ["frames", "mixture", "entropy", "most_likely", "components"],
        },
    ),
    (
        PlanRequest,
        {
            "session_id": SID,
            "planner": "random_shooting",
            "horizon": 3,
            "candidates": 4,
            "iterations": 5,
            "options": {"momentum": 0.5},
            "discount": 0.5,
            "particles": 2,
            "action_repeat": 3,
            "objective": {"survival": 0.5, "target": [1.0, 2.0], "target_weight": 3.0},
            "temperature": 0.25,
            "warm_start": False,
            "budget_ms": 20.0,
            "seed": 6,
        },
    ),
]


@pytest.mark.parametrize(("kind", "fields"), FULL, ids=lambda value: str(value)[:40])
def test_every_field_is_taken_as_it_was_sent(kind: type[Message], fields: dict[str, Any]) -> None:
    request = validated(kind, fields)
    for name, sent in fields.items():
        assert plain(getattr(request, name), sent) == sent, name


def plain(value: Any, like: Any) -> Any:
    """Return a value as JSON would represent it; of a message, the fields that were sent."""
    if isinstance(value, Message) and isinstance(like, dict):
        return {name: plain(getattr(value, name), like[name]) for name in like}
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_a_refused_body_is_freed_at_once() -> None:
    # pydantic's errors hold it, through the traceback of their cause, where no collector looks
    for body in ({"action": np.zeros((2, 2, 2))}, {"action": 0, "step": 1e30, "x": np.zeros(3)}):
        array = weakref.ref(next(one for one in body.values() if isinstance(one, np.ndarray)))
        with suppress(CallerError):  # pytest.raises would keep the frame, and with it the body
            raise AssertionError(validated(StepRequest, {"session_id": SID, **body}))
        body.clear()
        assert array() is None


def test_deep_nesting_beside_a_large_integer_is_refused() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(InvalidRequestError, match=r"seed: .*less than or equal"):
        validated(ResetRequest, {"seed": 1e30, "x": deep})


MANY = {f"k{i}": "x" for i in range(1_001)}


@pytest.mark.parametrize(
    ("kind", "fields", "where"),
    [
        (StepRequest, {"session_id": SID, **MANY}, "an object has at most 1000 keys, not 1002"),
        (PlanRequest, {"objective": {"signals": MANY}}, "objective.signals: an object has"),
        (PlanRequest, {"objective": MANY}, "objective: an object has at most 1000 keys"),
        (ResetRequest, {"start": {"frames": [{}, MANY]}}, "start.frames.1: an object has"),
        (InferRequest, {"inputs": [{"name": "a"}, MANY]}, "inputs.1: an object has"),
        (StepRequest, {7: MANY}, "7: an object has"),
    ],
)
def test_an_object_of_very_many_keys_is_refused_before_its_keys_are_validated(
    kind: type[Message], fields: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key would be an error, and the interpreter belongs to pydantic while it makes them."""
    monkeypatch.setattr(validation, "problem_in", lambda *_: pytest.fail("validated"))
    error = refusal(kind, fields)
    assert type(error) is InvalidRequestError
    assert where in error.detail


def test_the_keys_of_lists_and_of_deep_objects_are_looked_for_within_bounds() -> None:
    nested: Any = MANY
    for _ in range(400):
        nested = {"start": nested}
    assert "start" in refusal(ResetRequest, nested).detail
    assert step(action=[0] * 3_000).action is not None
    most = {f"k{i}": 1 for i in range(999)}
    assert "and 995 more" in refusal(StepRequest, {"session_id": SID, **most}).detail
