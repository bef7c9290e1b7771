"""Bytes to values and back."""

import math

import msgpack
import numpy as np
import orjson
import pytest
from starlette.exceptions import HTTPException

from dreamserve.api import codec
from dreamserve_protocol.errors import InvalidRequestError, NotFiniteInputError


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


def test_an_empty_body_is_an_empty_object_whatever_it_calls_itself() -> None:
    assert codec.decode(b"", b"text/plain") == {}


@pytest.mark.parametrize("kind", [b"application/json", b"application/json; charset=utf-8", b""])
def test_json_is_read(kind: bytes) -> None:
    assert codec.decode(b'{"seed": 7}', kind) == {"seed": 7}


@pytest.mark.parametrize("kind", [b"application/msgpack", b"application/vnd.msgpack"])
def test_msgpack_is_read(kind: bytes) -> None:
    assert codec.decode(msgpack.packb({"seed": 7}), kind) == {"seed": 7}


def test_another_media_type_is_refused_and_told_what_is_read() -> None:
    with pytest.raises(HTTPException, match="application/msgpack") as caught:
        codec.decode(b"seed=7", b"application/x-www-form-urlencoded")
    assert caught.value.status_code == 415


@pytest.mark.parametrize(
    "body",
    [b'{"t": NaN}', b'{"t": Infinity}', b'{"t": [0, -Infinity]}', b'{"t": 1e999}', b'{"t":-1e999}'],
)
def test_numbers_that_are_not_finite_are_refused_by_that_name(body: bytes) -> None:
    with pytest.raises(NotFiniteInputError, match="line 1 column"):
        codec.decode(body, b"application/json")


@pytest.mark.parametrize(
    "body", [b"{", b"{'a': 1}", b'{"a": 1}}', b"\xff\xfe", b"[" * 5000, b'{"a": nope}', b" "]
)
def test_broken_json_is_refused_with_its_place(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"not JSON.*line 1 column"):
        codec.decode(body, b"application/json")


@pytest.mark.parametrize(
    "body",
    [b"\x81", b"\xc1", b"\x91" * 5000, b"\x81\x01\x02", b"\x80\x80", b"\xdf\xff\xff\xff\xff"],
)
def test_broken_msgpack_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"not msgpack: ."):
        codec.decode(body, b"application/msgpack")


@pytest.mark.parametrize("value", [[], [1], "text", 3, None, True])
def test_a_body_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be an object"):
        codec.decode(orjson.dumps(value), b"application/json")
    with pytest.raises(InvalidRequestError, match="must be an object"):
        codec.decode(msgpack.packb(value), b"application/msgpack")


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
def test_what_has_no_form_is_an_error_and_not_a_guess(as_msgpack: bool) -> None:
    with pytest.raises(TypeError):
        codec.encode({"x": object()}, as_msgpack)
    assert (
        math.pi
        == codec.decode(
            codec.encode({"x": math.pi}, as_msgpack),
            (codec.MSGPACK if as_msgpack else codec.JSON).encode(),
        )["x"]
    )
