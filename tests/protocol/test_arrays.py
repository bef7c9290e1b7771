"""Arrays of the protocol: which values are accepted, which are refused, and how they are packed."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dreamserve_protocol.arrays import DTYPES, MAX_AXES, Array, pack, unpack
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)

FLOATS, INTEGERS = Array("float32 Z"), Array("int64 B")
ACTION = Array("int64", "float32 A", error=InvalidActionError)
OBSERVATION = Array("uint8 H W C", "float32 Z", most=1e6)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=MAX_AXES, min_side=0, max_side=3)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether both are the same array, bit for bit."""
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def packed(**changed: object) -> dict[str, object]:
    """Return a packed array of two float32, with changed fields."""
    return {"dtype": "<f4", "shape": [2], "data": bytes(8), **changed}


@settings(deadline=None)
@given(st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_a_packed_array_unpacks_to_the_same_array(array):
    assert same(unpack(pack(array)), array)


@settings(deadline=None)
@given(hnp.arrays(">f4", SHAPES))
def test_an_array_of_another_byte_order_is_packed_in_little_endian(array):
    assert pack(array)["dtype"] == "<f4"
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_a_transposed_array_is_packed_in_c_order():
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_a_list_of_arrays_is_parsed_as_one_array():
    frames, frame = Array("uint8 F H W C"), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert same(frames.parse([frame, frame]), np.stack([frame, frame]))
    with pytest.raises(InvalidRequestError, match="rows differ in length"):
        frames.parse([frame, frame[1:]])
    with pytest.raises(InvalidRequestError, match="must hold numbers"):
        frames.parse([np.array([["a"]])])


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 5)), elements=FINITE))
def test_lists_arrays_and_packed_arrays_are_parsed_alike(array):
    expected = FLOATS.parse(array)
    assert same(expected, array)
    assert same(FLOATS.parse(json.loads(json.dumps(array.tolist()))), expected)
    assert same(FLOATS.parse(pack(array)), expected)
    assert same(FLOATS.parse(tuple(array)), expected)


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 5))))
def test_integers_of_the_whole_range_are_parsed_exactly(array):
    for form in (array, array.tolist(), pack(array), list(array)):
        assert same(INTEGERS.parse(form), array)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5)), elements=FINITE))
def test_a_parsed_array_is_writable_and_owned_by_the_caller(array):
    for form in (array, array.tolist(), pack(array)):
        read = FLOATS.read(form)
        assert same(read, array)
        read[:] = 0  # raises for a view of the response's bytes


def test_the_number_of_axes_chooses_the_form():
    assert ACTION.parse(3) == 3
    assert type(ACTION.parse(np.int64(3))) is int
    assert ACTION.parse([1, 2]).dtype == np.float32
    assert OBSERVATION.parse([[[0, 255]]]).dtype == np.uint8
    assert OBSERVATION.parse([0, 1]).dtype == np.float32
    assert (type(ACTION.read(3)), ACTION.read([0.5]).dtype) == (int, np.float32)
    assert str(ACTION) == "an integer or (A,) float32"
    assert str(Array("float32 *")) == "(...,) float32"


@pytest.mark.parametrize(
    ("array", "value", "words"),
    [
        (FLOATS, True, "numbers, nested lists of them, or packed"),
        (FLOATS, None, "must be (Z,) float32"),
        (FLOATS, "12", "must be (Z,) float32"),
        (FLOATS, [1, True], "element [1] is bool, it must be a number"),
        (FLOATS, [1.0, "2"], "element [1] is str"),
        (FLOATS, [1.0, None], "element [1] is NoneType"),
        (FLOATS, [1.0, [2.0]], "element [1] is a list among numbers"),
        (Array("float32 N Z"), [[1], [1, False]], "element [1][1] is bool"),
        (Array("float32 N Z"), [[1], [1, 2]], "rows differ in length"),
        (FLOATS, np.array([True]), "not bool"),
        (FLOATS, packed(dtype="|b1", data=bytes(2)), "not bool"),
        (FLOATS, np.array([1, "a"], object), "not object"),
        (FLOATS, [[1.0]], "must be (Z,) float32, it has shape [1, 1]"),
        (FLOATS, 1.0, "it has shape []"),
        (FLOATS, [10**40], "numbers of at most 64 bits"),
        (INTEGERS, [10**40], "integers from -9223372036854775808 to 9223372036854775807"),
        (INTEGERS, [1e20], "integers from -9223372036854775808 to 9223372036854775807"),
        (Array("uint8 H W C"), [[[10**40]]], "integers from 0 to 255"),
        (INTEGERS, [2**63], "integers from -9223372036854775808 to 9223372036854775807"),
        (INTEGERS, [1.0], "and dtype float64"),
        (Array("uint8 H W C"), [[[256]]], "integers from 0 to 255"),
        (Array("uint8 H W C"), [[[-1]]], "integers from 0 to 255"),
        (FLOATS, packed(shape=[3]), "data has 8 bytes, dtype <f4 and shape [3] need 12"),
        (FLOATS, packed(shape=[0, *[2**31 - 1] * 3], data=b""), "no array has shape"),
        (FLOATS, packed(dtype="|O"), "dtype must be one of <f4"),
        (FLOATS, packed(dtype=["<f4"]), "dtype must be one of <f4"),
        (FLOATS, packed(shape=2), "shape must be a list of sizes"),
        (FLOATS, packed(shape=[-2]), "shape must be a list of sizes"),
        (FLOATS, packed(shape=[True, 2]), "shape must be a list of sizes"),
        (FLOATS, packed(shape=[2**31]), "shape must be a list of sizes"),
        (FLOATS, packed(shape=[1] * (MAX_AXES + 1)), "at most 8 axes"),
        (FLOATS, packed(data="AAAA"), "data must be binary"),
        (FLOATS, packed(data=[0] * 8), "data must be binary"),
        (FLOATS, packed(order="F"), "exactly the keys dtype, shape and data"),
        (FLOATS, {}, "exactly the keys dtype, shape and data"),
    ],
)
def test_an_invalid_array_is_refused_with_a_reason(array, value, words):
    with pytest.raises(InvalidRequestError) as refused:
        array.parse(value)
    assert words in refused.value.detail


def test_lists_nested_too_deep_are_refused_before_they_are_traversed():
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(InvalidRequestError, match="at most 8 axes"):
        FLOATS.parse(nested)


def test_lists_may_be_nested_as_deep_as_a_packed_array_may_have_axes():
    array = np.ones((1,) * MAX_AXES, np.float32)
    for form in (array.tolist(), pack(array)):
        assert same(Array("float32 *").parse(form), array)


@pytest.mark.parametrize("value", [True, 1.5, "1", None, [1, False], [[1.0]], {}])
def test_an_invalid_action_raises_an_invalid_action_error(value):
    with pytest.raises(InvalidActionError):
        ACTION.parse(value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_floats_must_be_finite_as_their_dtype_unless_rows_have_errors_of_their_own(value):
    with pytest.raises(NotFiniteInputError, match=r"element \[1\] is not a finite float32 number"):
        FLOATS.parse([0.0, value])
    assert not np.isfinite(Array("float32 Z", finite=False).parse([value])).any()


def test_floats_may_be_as_large_as_their_bound():
    assert OBSERVATION.parse([1e6, -1e6]).tolist() == [1e6, -1e6]
    with pytest.raises(NotFiniteInputError, match="number within -1e\\+06 and 1e\\+06"):
        OBSERVATION.parse([0, -1.1e6])


def test_null_is_read_as_nan_where_allowed():
    figures = Array("float64 P", nullable=True).read([0.5, None])
    np.testing.assert_array_equal(figures, [0.5, np.nan])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_for_integers_are_refused_whatever_their_dtype(dtype) -> None:
    with pytest.raises(InvalidRequestError, match="must be"):
        Array("int64 B").parse(np.array([1.0, 2.0], dtype))


def test_a_signalling_nan_is_not_finite() -> None:
    signalling = np.frombuffer(bytes.fromhex("010000000000f07f"), "<f8")
    with pytest.raises(NotFiniteInputError, match=r"element \[0\]"):
        Array("float32 Z").parse(signalling)
