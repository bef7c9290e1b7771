"""Mutations of valid examples: of bytes, and of documents, as JSON, msgpack or PNG files."""

import struct
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any

import msgpack
import numpy as np
import orjson

from dreamserve_protocol.arrays import DTYPES, pack

BOUNDARIES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**53, 2**63, 2**64 - 1)
NUMBERS = (-1, -(2**63), 0.5, -0.0, 1e-320, 3.5e38, 1e300, *BOUNDARIES)
STRINGS = ("", "a", "\0", "é", "a" * 129, "../../etc/passwd", "cem", "linear", "png", "0" * 32)
CONTAINERS = ([], {}, [[]], [[1], [1, 2]], [True, 1], [None], {"bank": 0}, {"png": "AAAA"})
VALUES = (None, True, False, *NUMBERS, *STRINGS, *CONTAINERS)

# What a JSON library does not write: each stands in the text for a marker of its own.
RAW_JSON = (
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"1e-400",
    b"1" + b"0" * 400,
    b"-0",
    b"01",
    b'"\\ud800"',
    b'"\\u0000"',
    b'{"a":1,"a":2}',
    b"[" * 300 + b"]" * 300,
    b'{"a":' * 300 + b"1" + b"}" * 300,
)
_MARKERS = [f"raw {i}" for i in range(len(RAW_JSON))]


def mutated_bytes(random: Random, data: bytes, times: int = 4) -> bytes:
    """Return `data` with 1 to `times` of its bytes changed, removed, repeated or inserted."""
    out = bytearray(data)
    for _ in range(random.randint(1, times)):
        at = random.randrange(len(out) + 1)
        length = random.choice((1, 1, 2, 4, 8, 64))
        match random.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << random.randrange(8)
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length]
            case 3:
                out[at:at] = random.randbytes(length)
            case 4:
                width = random.choice("BHIQ")
                most = 2 ** (8 * struct.calcsize(width)) - 1
                number = min(random.choice(BOUNDARIES), most)
                new = struct.pack(random.choice("<>") + width, number)
                out[at : at + len(new)] = new
            case _:
                del out[at:]
    return bytes(out)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container of a document with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def mutated_document(
    random: Random, document: Any, values: tuple[Any, ...] = VALUES, times: int = 3
) -> Any:
    """Return a copy of a document with 1 to `times` of its values replaced, removed or moved."""
    document = _copy(document)
    for _ in range(random.randint(1, times)):
        places = list(_places(document)) if isinstance(document, dict | list) else []
        if not places:
            return random.choice(values)
        # few of the numbers of an array, as they are alike
        container, key = random.choice(
            [place for place in places if not isinstance(place[1], int) or place[1] < 2]
        )
        other, other_key = random.choice(places)
        match random.randrange(8):
            case 0 | 1 | 2:
                container[key] = _copy(random.choice(values))
            case 3:
                container[key] = _copy(other[other_key])
            case 4:
                del container[key]
            case 5 if isinstance(container, list):
                container.extend(_copy(container[:3]))
            case 5:
                container[random.choice(STRINGS)] = container[key]
            case 6 if isinstance(container[key], int | float):
                moved = container[key] + random.choice((-1, 1, 0.5, 2**53))
                container[key] = max(-(2**63), min(moved, 2**64 - 1))
            case _:
                container[key] = [container[key]]
    return document


def as_json(random: Random, document: Any, times: int = 3) -> bytes:
    """Return a mutated document as JSON, some with what a JSON library does not write."""
    text = orjson.dumps(
        mutated_document(random, document, (*VALUES, *_MARKERS), times),
        default=lambda value: value.tolist() if isinstance(value, np.ndarray) else "",
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if b'"raw ' in text:
        for marker, raw in zip(reversed(_MARKERS), reversed(RAW_JSON), strict=True):
            text = text.replace(orjson.dumps(marker), raw)
    return mutated_bytes(random, text) if random.random() < 0.2 else text


def as_msgpack(random: Random, document: Any, times: int = 3) -> bytes:
    """Return a mutated document as msgpack; many lists of numbers are packed arrays."""
    packed = _packed(random, document)
    mutated = mutated_document(random, packed, (*VALUES, *_MSGPACK_ONLY), times)
    raw: bytes = msgpack.packb(mutated, default=pack)
    return mutated_bytes(random, raw) if random.random() < 0.2 else raw


_MSGPACK_ONLY: tuple[Any, ...] = (
    b"",
    b"\xff",
    float("nan"),
    float("-inf"),
    msgpack.Timestamp(0),
    msgpack.ExtType(7, b"x"),
    {b"key": 1},
    {"dtype": "<f4", "shape": [0], "data": b""},
    {"dtype": "<f4", "shape": [2**40, 2**40], "data": b""},
    {"dtype": "|O8", "shape": [1], "data": bytes(8)},
    {"dtype": "<f4", "shape": [1], "data": struct.pack("<f", float("nan"))},
    *DTYPES,
)


def _packed(random: Random, value: Any) -> Any:
    """Return a document in which half of the arrays are packed."""
    if isinstance(value, dict):
        return {name: _packed(random, one) for name, one in value.items()}
    if not isinstance(value, list):
        return value
    array = np.asarray(value) if _is_array(value) else None
    if array is None or random.random() < 0.5:
        return [_packed(random, one) for one in value]
    return pack(array.astype(random.choice(DTYPES) if random.random() < 0.1 else array.dtype))


def _is_array(value: Any) -> bool:
    """Return whether a list is nonempty and of numbers, nested to any depth but not ragged."""
    while isinstance(value, list) and value:
        if len({len(one) if isinstance(one, list) else -1 for one in value}) > 1:
            return False
        value = value[0]
    return isinstance(value, int | float) and not isinstance(value, bool)


def mutated_png(random: Random, file: bytes) -> bytes:
    """Return a PNG file with mutated bytes, or with mutated chunks whose checksums are right."""
    if random.random() < 0.4:
        return mutated_bytes(random, file)
    chunks, at = [], 8
    while at < len(file):
        size = int.from_bytes(file[at : at + 4], "big")
        chunks.append((file[at + 4 : at + 8], file[at + 8 : at + 8 + size]))
        at += size + 12
    i = random.randrange(len(chunks))
    kind, data = chunks[i]
    match random.randrange(5):
        case 0:
            chunks.insert(random.randrange(len(chunks) + 1), chunks[i])
        case 1:
            del chunks[i]
        case 2:
            chunks[i] = mutated_bytes(random, kind, 1)[:4].ljust(4, b"a"), data
        case 3 if kind == b"IDAT":
            rows = mutated_bytes(random, zlib.decompress(data))
            chunks[i] = kind, zlib.compress(rows)
        case _:
            chunks[i] = kind, mutated_bytes(random, data, 2)
    return file[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
