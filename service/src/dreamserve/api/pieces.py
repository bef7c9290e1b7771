"""Large results encoded piece by piece, so that other threads run meanwhile.

An encoder keeps the interpreter for itself until it is done: seconds where a result has tens of
millions of numbers, in which no other request is served, even if a thread of its own encodes. So
arrays and long lists are cut; between two pieces the interpreter changes to another thread if one
waits, and so it does while it joins them.
"""

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from dreamserve_protocol.arrays import pack
from dreamserve_protocol.wire import fields_of

MOST_ELEMENTS = 4096  # of a piece of JSON: about half a millisecond
MOST_BYTES = 256 * 1024  # of a piece of msgpack, which is a copy
MOST_ITEMS = 256  # of a list, such as the errors of rows: as long as a piece of an array

_NO_BYTES, _BYTES = b"\xc4\0", b"\xc6"  # msgpack's formats `bin 8` of length 0, and `bin 32`

Encode = Callable[[Any], bytes]
AnyArray = npt.NDArray[Any]


def json_in_pieces(value: Any, encode: Encode) -> bytes:
    """Return what `encode`, to JSON, returns for a message, or a dict of its fields."""
    return b"".join(_json(value, encode))


def msgpack_in_pieces(value: Any, encode: Encode) -> bytes:
    """Return what `encode`, to msgpack, returns for a message, or a dict of its fields."""
    return b"".join(_msgpack(value, encode))


def _json(value: Any, encode: Encode) -> Iterator[bytes]:
    value = fields_of(value) if is_dataclass(value) else value
    if isinstance(value, dict) and value:
        before = b"{"
        for name, one in value.items():
            yield before + encode(name) + b":"
            yield from _json(one, encode)
            before = b","
        yield b"}"
    elif isinstance(value, np.ndarray) and value.size > MOST_ELEMENTS:
        yield from _json_array(value, encode)
    elif isinstance(value, list) and len(value) > MOST_ITEMS:
        before = b"["
        for part in _parts(value):
            yield before + encode(part)[1:-1]
            before = b","
        yield b"]"
    else:
        yield encode(value)


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for first in range(0, len(items), MOST_ITEMS):
        yield items[first : first + MOST_ITEMS]


def _json_array(array: AnyArray, encode: Encode) -> Iterator[bytes]:
    """Yield the pieces of an array of more than MOST_ELEMENTS, as many rows at a time as fit."""
    row_elements, before = array.size // len(array), b"["
    rows = max(1, MOST_ELEMENTS // row_elements)
    for first in range(0, len(array), rows):
        yield before
        if row_elements > MOST_ELEMENTS:
            yield from _json_array(array[first], encode)
        else:
            yield encode(array[first : first + rows])[1:-1]
        before = b","
    yield b"]"


def _msgpack(value: Any, encode: Encode) -> Iterator[bytes]:
    value = fields_of(value) if is_dataclass(value) else value
    if isinstance(value, dict):
        yield msgpack.Packer().pack_map_header(len(value))
        for name, one in value.items():
            yield encode(name)
            yield from _msgpack(one, encode)
    elif isinstance(value, np.ndarray) and value.nbytes > MOST_BYTES:
        yield from _msgpack_array(value, encode)
    elif isinstance(value, list) and len(value) > MOST_ITEMS:
        yield msgpack.Packer().pack_array_header(len(value))
        for part in _parts(value):
            yield encode(part)[len(msgpack.Packer().pack_array_header(len(part))) :]
    else:
        yield encode(value)


def _msgpack_array(array: AnyArray, encode: Encode) -> Iterator[bytes]:
    """Yield the pieces of an array of more than MOST_BYTES, in its packed form."""
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    empty = encode({**pack(values[:0]), "shape": list(array.shape)})
    yield empty.removesuffix(_NO_BYTES) + _BYTES + values.nbytes.to_bytes(4, "big")
    count = MOST_BYTES // values.itemsize
    for first in range(0, values.size, count):
        yield values[first : first + count].tobytes()
