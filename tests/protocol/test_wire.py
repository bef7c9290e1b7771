"""Results survive the wire unchanged, in JSON and in msgpack."""

import json
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dreamserve_protocol.arrays import Array, Form, pack
from dreamserve_protocol.batches import RowError, StepBatchResult
from dreamserve_protocol.markers import Message
from dreamserve_protocol.pages import Health, Index, Problem
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.step import StepRequest, StepResult
from dreamserve_protocol.verbs import VERBS
from dreamserve_protocol.wire import fields_of, read
from dreamserve_protocol.worlds import WorldsResult, WorldSummary

# in one order in every process: workers compare what they collect
RESULTS = [
    *dict.fromkeys(verb.result for verb in VERBS if verb.result is not None),
    *(Health, Index, Problem),
]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(max_size=3)
SCALARS = {str: st.text(max_size=5), int: st.integers(-(2**53), 2**53), float: FLOATS}
ELEMENTS = {
    "f": lambda dtype: st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False),
    "i": lambda dtype: st.integers(-(2**53), 2**53),
    "u": lambda dtype: st.integers(0, 255),
    "b": lambda dtype: st.booleans(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of a field with this annotation.

    Arrays have at least one element: nested lists of none do not tell their shape.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marks = [mark for mark in hint.__metadata__ if isinstance(mark, Array)]
        return st.one_of(*map(arrays, marks[0].forms)) if marks else values(hint.__origin__)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if one is type(None) else values(one) for one in args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), values(args[1]), max_size=2)
    if origin in (list, Sequence):
        return st.lists(values(args[0]), max_size=2)
    if is_dataclass(hint):
        return messages(hint)
    return {**SCALARS, bool: st.booleans(), Any: ANYTHING}[hint]


def arrays(form: Form) -> st.SearchStrategy[Any]:
    """Return a strategy for arrays of one form; without axes, plain numbers."""
    elements = ELEMENTS[form.dtype.kind](form.dtype)
    if form.axes == ():
        return elements
    least, most = (1, 3) if form.axes is None else (len(form.axes),) * 2
    shapes = hnp.array_shapes(min_dims=least, max_dims=most, max_side=2)
    return hnp.arrays(form.dtype, shapes, elements=elements)


def messages(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


def as_lists(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else fields_of(value)


def as_packed(value: Any) -> Any:
    return pack(value) if isinstance(value, np.ndarray) else fields_of(value)


def through_json(message: Message) -> Any:
    return json.loads(json.dumps(fields_of(message), default=as_lists, allow_nan=False))


def through_msgpack(message: Message) -> Any:
    return msgpack.unpackb(msgpack.packb(fields_of(message), default=as_packed))


def same(one: Any, other: Any) -> bool:
    """Return whether both, with all their parts, are equal in type, dtype and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("carry", [through_json, through_msgpack])
@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_result_comes_back_as_it_was_sent(kind, carry: Callable[[Message], Any], data):
    message = data.draw(messages(kind))
    assert same(read(kind, carry(message)), message)


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_only_fields_without_a_default_are_required(kind):
    required = [f for f in fields(kind) if f.default is f.default_factory is MISSING]
    assert required
    for field in required:
        with pytest.raises(KeyError, match=f"^'{field.name}'$"):
            read(kind, {f.name: None for f in required if f is not field})


STEP = {"session_id": "s", "step": 1, "latent": [0.5], "reward": 1, "terminated": False}


def test_fields_of_a_later_version_are_ignored():
    result = read(StepResult, {**STEP, "of_a_later_version": 1, "info": {"surprise": 0.5}})
    assert (result.step, result.truncated, result.info) == (1, False, {"surprise": 0.5})
    assert (result.frame, result.mixture, result.state) == (None, None, None)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (StepResult, {"latent": "high"}),
        (StepResult, {"latent": [[1.0], 2.0]}),
        (StepResult, {"latent": {"dtype": "<f4"}}),
        (StepResult, {"mixture": 5}),
        (StepResult, {"state": [1]}),
        (StepResult, {"frame": [["a"]]}),
    ],
)
def test_an_invalid_field_raises_a_value_or_type_error(kind, changed):
    with pytest.raises((ValueError, TypeError)):
        read(kind, {**STEP, **changed})


@pytest.mark.parametrize("response", [[], "text", 5, None])
def test_a_value_that_is_not_an_object_is_a_type_error(response):
    with pytest.raises(TypeError):
        read(StepResult, response)


def test_parts_that_are_messages_are_read_as_such():
    error = {"row": 1, "code": "overloaded", "status": 429, "detail": "full", "later": 1}
    columns = {"session_ids": ["a"], "steps": [1], "latents": [[0.0]], "rewards": [1.0]}
    ends = {"terminated": [True], "truncated": [False]}
    batch = read(StepBatchResult, {**columns, **ends, "errors": [error]})
    assert batch.errors == [RowError(1, "overloaded", 429, "full")]
    world = WorldSummary("w", "1", "onnx", {}, [], 2, [8, 8, 3], {})
    assert read(WorldsResult, {"worlds": [fields_of(world)]}).worlds == [world]


def test_absent_fields_are_not_sent_but_false_and_zero_are():
    request = StepRequest("s", 0, include=[])
    expected = {"session_id": "s", "action": 0, "include": [], "frame_format": "array"}
    assert fields_of(request) == expected
    latent = np.zeros(2, np.float32)
    reset = ResetResult("s", "w", 0, latent, 0, 0.0)
    assert fields_of(reset)["latent"] is latent
    assert fields_of(reset).keys() == {
        "session_id",
        "world",
        "step",
        "latent",
        "seed",
        "temperature",
    }
