"""Encoding and decoding of bodies."""

import contextlib
import math
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.api import codec
from dreamserve.api.elements import Most, check
from dreamserve_protocol.batches import DeleteBatchRequest, DeleteBatchResult, RowError
from dreamserve_protocol.errors import (
    InvalidRequestError,
    NotFiniteInputError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from dreamserve_protocol.sample import SampleResult
from dreamserve_protocol.step import StepRequest, StepResult


@pytest.mark.parametrize(
    ("accept", "msgpack_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", False),
        ("application/msgpack", True),
        ("Application/Msgpack", True),
        ("application/x-msgpack", True),
        ("application/msgpack, application/json", True),
        ("application/json, application/msgpack;q=0.5", False),
        ("application/json;q=0.5, application/msgpack;q=0.9", True),
        ("application/msgpack;q=0", False),
        ("application/msgpack;q=oops, */*", True),
        ("application/msgpack;q=1.5", True),
        ("application/msgpack; q = 0.4, application/json;q=0.5", False),
        ("application/*", False),
        ("text/html, application/xhtml+xml, */*;q=0.8", False),
        ("application/msgpack;q=0.1, */*", False),
        ("application/msgpack;q=0.1, application/*;q=0.9", False),
        ("application/msgpack;q=0.5, application/*;q=0.4, */*", True),
        ("application/msgpack;q=0, */*", False),
        ("application/json;q=0, */*", True),
        ("application/json;q=0, application/*;q=0.1", True),
    ],
)
def test_the_answer_follows_the_accept_header(accept: str, msgpack_wanted: bool) -> None:
    assert codec.prefers_msgpack(accept.encode()) is msgpack_wanted


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=utf-8"])
def test_json_is_recognised_by_its_media_type(kind: bytes) -> None:
    assert codec.is_msgpack(kind) is False


@pytest.mark.parametrize(
    "kind", [b"application/msgpack", b"application/x-msgpack", b"application/vnd.msgpack; v=1"]
)
def test_msgpack_is_recognised_by_its_media_type(kind: bytes) -> None:
    assert codec.is_msgpack(kind) is True


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (b"", "has no Content-Type"),
        (b"text/plain", "text/plain is not supported"),
        (b"application/x-www-form-urlencoded", "urlencoded is not supported"),
        (b"application/jsonl", "application/jsonl is not supported"),
        (b"\xff" * 9000, "is not supported"),
    ],
)
def test_another_media_type_is_refused_with_the_supported_ones(kind: bytes, message: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="application/msgpack") as caught:
        codec.is_msgpack(kind)
    assert message in caught.value.detail
    assert len(caught.value.detail) < 300


def test_both_forms_are_read() -> None:
    assert codec.decode(b'{"seed": 7}', as_msgpack=False) == {"seed": 7}
    assert codec.decode(msgpack.packb({"seed": 7}), as_msgpack=True) == {"seed": 7}


@pytest.mark.parametrize(
    "body",
    [b'{"t": NaN}', b'{"t": Infinity}', b'{"t": [0, -Infinity]}', b'{"t": 1e999}', b'{"t":-1e999}'],
)
def test_numbers_that_are_not_finite_have_their_own_error(body: bytes) -> None:
    with pytest.raises(NotFiniteInputError, match="line 1 column"):
        codec.decode(body, as_msgpack=False)


@pytest.mark.parametrize(
    "body", [b"{", b"{'a': 1}", b'{"a": 1}}', b"\xff\xfe", b"[" * 5000, b'{"a": nope}', b" "]
)
def test_broken_json_is_refused_with_its_place(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"not JSON.*line 1 column"):
        codec.decode(body, as_msgpack=False)


@pytest.mark.parametrize(
    "body",
    [b"\x81", b"\xc1", b"\x91" * 5000, b"\x81\x01\x02", b"\x80\x80", b"\xdf\xff\xff\xff\xff"],
)
def test_broken_msgpack_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"not msgpack: ."):
        codec.decode(body, as_msgpack=True)


@pytest.mark.parametrize("value", [[], [1], "text", 3, None, True])
def test_a_body_that_is_not_an_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be an object"):
        codec.decode(orjson.dumps(value), as_msgpack=False)
    with pytest.raises(InvalidRequestError, match="must be an object"):
        codec.decode(msgpack.packb(value), as_msgpack=True)


def test_arrays_go_out_as_lists_in_json_and_packed_in_msgpack() -> None:
    value = {
        "latent": np.array([0.1, -2.5], np.float32),
        "turned": np.arange(6, dtype=np.uint8).reshape(2, 3).T,  # not contiguous
        "ended": np.array([[True, False]]),
        "reward": np.float32(0.25),
        "done": np.bool_(True),
    }
    assert orjson.loads(codec.encode(value, as_msgpack=False)) == {
        "latent": [0.1, -2.5],
        "turned": [[0, 3], [1, 4], [2, 5]],
        "ended": [[True, False]],
        "reward": 0.25,
        "done": True,
    }
    packed = msgpack.unpackb(codec.encode(value, as_msgpack=True))
    assert packed["latent"] == {
        "dtype": "<f4",
        "shape": [2],
        "data": value["latent"].tobytes(),
    }
    assert packed["turned"] == {"dtype": "|u1", "shape": [3, 2], "data": bytes([0, 3, 1, 4, 2, 5])}
    assert packed["ended"]["dtype"] == "|b1"
    assert packed["reward"] == 0.25
    assert packed["done"] is True


def test_float32_survives_json_to_the_bit() -> None:
    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    back = np.array(orjson.loads(codec.encode({"x": numbers}, as_msgpack=False))["x"], np.float32)
    assert numbers.tobytes() == back.tobytes()


@pytest.mark.parametrize("as_msgpack", [False, True])
def test_values_that_cannot_be_encoded_raise_an_error(as_msgpack: bool) -> None:
    with pytest.raises(TypeError):
        codec.encode({"x": object()}, as_msgpack)
    assert codec.decode(codec.encode({"x": math.pi}, as_msgpack), as_msgpack)["x"] == math.pi


def test_of_a_long_header_only_the_beginning_is_read_and_remembered() -> None:
    padding = b"," * 60_000
    assert codec.prefers_msgpack(b"application/msgpack" + padding)
    assert not codec.prefers_msgpack(padding + b"application/msgpack")
    assert codec.is_msgpack(b"application/msgpack;" + padding)
    known = codec._prefers_msgpack.cache_info().currsize
    for i in range(3):
        codec.prefers_msgpack(padding + b"%d" % i)
    assert codec._prefers_msgpack.cache_info().currsize == known


MOST = Most(elements=40_000, lists=4_000)


def in_list(one: bytes, count: int, as_msgpack: bool) -> bytes:
    """Return an object with a list of `count` times the same value."""
    if as_msgpack:
        return b"\x81\xa1a\xdd" + count.to_bytes(4, "big") + one * count
    return b'{"a":[' + (one + b",") * (count - 1) + one + b"]}"


@pytest.mark.parametrize(
    ("one", "as_msgpack", "count"),
    [
        (b"1", False, 40_001),
        (b"[]", False, 4_001),
        (b"{}", False, 4_001),
        (b'{"a":1}', False, 2_001),
        (b"\x01", True, 40_001),
        (b"\xcb" + b"\xff" * 8, True, 40_001),
        (b"\xd9\x01a", True, 40_001),
        (b"\x90", True, 4_001),
        (b"\x80", True, 4_001),
        (b"\x81\xa1a\x01", True, 2_001),
        (b"\xdc\x00\x00", True, 4_001),
    ],
)
def test_a_body_that_holds_too_much_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, one: bytes, as_msgpack: bool, count: int
) -> None:
    assert codec.decode(in_list(one, count // 2, as_msgpack), as_msgpack, MOST)["a"]
    for module in (codec.orjson, codec.msgpack):
        name = "loads" if module is codec.orjson else "unpackb"
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("built"))
    with pytest.raises(TooLargeError, match=r"more than .*; send arrays packed"):
        codec.decode(in_list(one, count, as_msgpack), as_msgpack, MOST)


def test_declared_lengths_count_although_nothing_follows() -> None:
    nested = b"\x81\xa1a" + (b"\xdd" + (20_000).to_bytes(4, "big")) * 400 + b"\x90" * 1000
    with pytest.raises(TooLargeError, match="more than 40000 elements"):
        codec.decode(nested, True, MOST)


def test_a_large_body_of_few_elements_is_read() -> None:
    data = bytes(range(256)) * 10_000
    body = msgpack.packb({"a": data, "b": [1], "c": "x" * 70_000})
    assert codec.decode(body, True, MOST)["a"] == data
    assert codec.decode(b'{"a":"' + b"x" * 3_000_000 + b'"}', False, MOST).keys() == {"a"}


@settings(max_examples=50, deadline=None)
@given(
    value=st.dictionaries(
        st.text(max_size=40),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats()
            | st.text(max_size=300)
            | st.binary(max_size=300)
            | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300)),
            lambda inner: (
                st.lists(inner, max_size=20)
                | st.dictionaries(st.text(max_size=9), inner, max_size=9)
            ),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_msgpack_is_counted_exactly(value: dict[str, Any]) -> None:
    body = msgpack.packb({"padding": "x" * 1100, **value})
    elements, lists = counted({"padding": "", **value})
    check(body, True, Most(elements, lists))
    with pytest.raises(TooLargeError):
        check(body, True, Most(elements - 1, lists))
    with pytest.raises(TooLargeError):
        check(body, True, Most(elements, lists - 1))


def counted(value: Any) -> tuple[int, int]:
    """Return the elements of all lists and objects, and the number of these and of their keys."""
    if not isinstance(value, list | dict):
        return 0, 0
    keys = len(value) if isinstance(value, dict) else 0
    inner = [counted(one) for one in (value.values() if keys else value)]
    elements, lists = (sum(column) for column in zip(*inner, strict=True)) if inner else (0, 0)
    return len(value) + elements, 1 + keys + lists


@settings(max_examples=50, deadline=None)
@given(body=st.binary(min_size=1025, max_size=1100), as_msgpack=st.booleans())
def test_any_bytes_are_counted_without_an_error(body: bytes, as_msgpack: bool) -> None:
    with contextlib.suppress(TooLargeError):
        check(body, as_msgpack, MOST)


LARGE = {
    "id": "a",
    "status": 200,
    "body": SampleResult(
        latents=np.arange(3 * 50_000 * 2, dtype=np.float32).reshape(3, 50_000, 2) / 7,
        rewards=np.arange(300_000.0, dtype=np.float32).reshape(300_000, 1)[::2],  # not contiguous
        terminated=np.arange(9_000).reshape(9_000, 1, 1) % 2 == 0,
        frames=np.arange(4 * 70 * 70 * 3, dtype=np.uint8).reshape(4, 70, 70, 3),
        mixture={"logits": np.zeros((0, 5), np.float32), "mu": np.float64(range(5_000))},
        signals={},
    ),
    "empty": {},
}
ERRORS = [RowError(i, "session_not_found", 404, f"no session {i}") for i in range(1_100)]
ROWS = DeleteBatchResult([f"é{i}" for i in range(70_000)], ERRORS)


@pytest.mark.parametrize("as_msgpack", [False, True])
@pytest.mark.parametrize(
    "message",
    [LARGE, LARGE["body"], {"body": ROWS}, {"ids": ["a"] * 257, "numbers": list(range(513))}],
    ids=["nested", "message", "rows", "lists"],
)
def test_a_large_result_is_encoded_to_the_same_bytes_in_pieces(
    message: Any, as_msgpack: bool
) -> None:
    assert codec.encode_large(message, as_msgpack) == codec.encode(message, as_msgpack)


@pytest.mark.parametrize("as_msgpack", [False, True])
def test_no_piece_of_a_large_result_is_large(as_msgpack: bool, monkeypatch: Any) -> None:
    """Other threads wait for one piece at most."""
    sizes = []
    name = "_to_msgpack" if as_msgpack else "_to_json"
    encode = getattr(codec, name)
    monkeypatch.setattr(codec, name, lambda value: sizes.append(np.size(value)) or encode(value))
    frames = np.zeros((64, 64, 64, 3), np.uint8)
    encoded = codec.encode_large({"frames": frames, "rows": ROWS}, as_msgpack)
    assert len(encoded) > 700_000
    assert 0 < max(sizes) <= 4096


def test_the_size_of_a_result_is_that_of_its_arrays_and_lists() -> None:
    delete, step = DeleteBatchRequest(["a"]), StepRequest("a", 1)
    frame = np.zeros((64, 64, 3), np.uint8)
    taken = StepResult("a", 1, np.zeros(8, np.float32), 0.0, False, False)
    assert codec.bytes_of(delete, LARGE["body"]) > 4 * 300_000
    assert codec.bytes_of(delete, ROWS) > sum(len(error.detail) for error in ERRORS) + 64 * 70_000
    assert codec.bytes_of(step, taken) == codec.bytes_of(None, None) == 0
    with_frame = replace(step, include=["frame"])
    assert codec.bytes_of(with_frame, replace(taken, frame=frame)) > frame.nbytes
