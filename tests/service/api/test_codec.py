"""Encoding and decoding of bodies."""

import math

import msgpack
import numpy as np
import orjson
import pytest

from dreamserve.api import codec
from dreamserve_protocol.errors import (
    InvalidRequestError,
    NotFiniteInputError,
    TooLargeError,
    UnsupportedMediaTypeError,
)


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


MOST = codec.MAX_ELEMENTS


@pytest.mark.parametrize(
    ("body", "as_msgpack"),
    [
        (b'{"a":[' + b"[]," * MOST + b"0]}", False),
        (b'{"a":[' + b"{}," * MOST + b"0]}", False),
        (b'{"a":[' + b"1," * MOST + b"0]}", False),
        (b"\x81\xa1a\xdd" + MOST.to_bytes(4, "big") + b"\x80" * MOST, True),  # empty maps
        (b"\x81\xa1a\xdd" + MOST.to_bytes(4, "big") + b"\x90" * MOST, True),  # empty lists
        (b"\x81\xa1a\xdd" + (MOST + 1).to_bytes(4, "big") + b"\xc0" * (MOST + 1), True),
    ],
)
def test_a_body_of_too_many_elements_is_refused_before_it_takes_its_memory(
    body: bytes, as_msgpack: bool
) -> None:
    with pytest.raises(TooLargeError, match="2000000 elements; send arrays packed"):
        codec.decode(body, as_msgpack)


def test_a_large_body_of_few_elements_is_read() -> None:
    data = bytes(3 * MOST)
    assert codec.decode(msgpack.packb({"a": data, "b": [1]}), as_msgpack=True)["a"] == data
    assert codec.decode(b'{"a":"' + b"x" * 3 * MOST + b'"}', as_msgpack=False).keys() == {"a"}
