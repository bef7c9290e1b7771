"""The Open Inference Protocol's tensors, read from a body and written to one.

A body is JSON, and behind it the bytes of its binary tensors, little-endian and in C order, in the
order in which the JSON names them. The header Inference-Header-Content-Length tells where the JSON
ends; without it there is nothing else.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from dreamserve.api import codec
from dreamserve.api.elements import Most
from dreamserve.api.inference.models import DEFAULT_OUTPUTS, DTYPES, Declared
from dreamserve_protocol.arrays import Array
from dreamserve_protocol.common import Whole
from dreamserve_protocol.errors import (
    InvalidRequestError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from dreamserve_protocol.markers import Items, Message

JSON_LENGTH = b"inference-header-content-length"
_NUMBERS = {"INT64": Array("int64 *"), "FP32": Array("float32 *")}  # of inputs in JSON
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # zlib's; deflate means zlib's format, as in HTTP
_SHOWN = 80


@dataclass(frozen=True, slots=True, eq=False)
class InputParameters(Message):
    """Where an input's numbers are."""

    binary_data_size: Whole | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Input(Message):
    """An input of a request."""

    name: str
    datatype: str
    shape: Annotated[Sequence[Whole], Items()]
    parameters: InputParameters = field(default_factory=InputParameters)
    data: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class OutputParameters(Message):
    """How an output is returned."""

    binary_data: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Output(Message):
    """An output that a request asks for."""

    name: str
    parameters: OutputParameters = field(default_factory=OutputParameters)


def split(
    body: bytes, headers: dict[bytes, bytes], limit: int, most: Most
) -> tuple[dict[str, Any], bytes]:
    """Return a body's JSON object and the bytes behind it.

    Raises InvalidRequestError, NotFiniteInputError, UnsupportedMediaTypeError, and TooLargeError
    for more than `limit` bytes once decompressed, or a JSON object that holds more than `most`.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        body = _decompressed(body, encoding, limit)
    length = headers.get(JSON_LENGTH)
    if length is None:
        return codec.decode(body, False, most), b""
    if not length.isdigit() or len(length) > 20 or not 0 < int(length) <= len(body):
        shown = length.decode("latin-1")[:_SHOWN]
        raise InvalidRequestError(
            f"Inference-Header-Content-Length must be the length of the JSON, from 1 to the body's"
            f" {len(body)} bytes, not {shown}; a body of binary data alone can name no sequence"
        )
    return codec.decode(body[: int(length)], False, most), body[int(length) :]


def _decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding not in _WINDOW_BITS:
        shown = encoding.decode("latin-1")[:_SHOWN]
        raise UnsupportedMediaTypeError(f"Content-Encoding {shown}: must be gzip or deflate")
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not {encoding.decode()}: {error}") from None
    if len(plain) > limit:
        raise TooLargeError(f"the body exceeds the limit of {limit} bytes once decompressed")
    if not stream.eof or stream.unused_data:
        raise InvalidRequestError(f"the body is not one whole {encoding.decode()} stream")
    return plain


def read(inputs: Sequence[Input], declared: Declared, binary: bytes) -> npt.NDArray[Any] | None:
    """Return the one input that a world takes, None if it is absent.

    Raises InvalidRequestError, NotFiniteInputError.
    """
    unknown = [tensor.name[:_SHOWN] for tensor in inputs if tensor.name != declared.name]
    if unknown or len(inputs) > 1:
        shown = unknown[:3] or "more"
        raise InvalidRequestError(f"inputs: one {declared.name} or none, not {shown}")
    sizes = [tensor.parameters.binary_data_size or 0 for tensor in inputs]
    if sum(sizes) != len(binary):
        raise InvalidRequestError(
            f"{len(binary)} bytes follow the JSON, binary_data_size says {sum(sizes)}"
        )
    return _numbers(inputs[0], declared, binary) if inputs else None


def _numbers(tensor: Input, declared: Declared, binary: bytes) -> npt.NDArray[Any]:
    """Return the numbers of one input. Raises InvalidRequestError, NotFiniteInputError."""
    where = f"inputs {declared.name}"
    if (tensor.datatype, tuple(tensor.shape)) != declared[1:]:
        shown = f"{tensor.datatype} {list(tensor.shape)}"[:_SHOWN]
        must = f"{declared.datatype} {list(declared.shape)}"
        raise InvalidRequestError(f"{where}: must be {must}, not {shown}")
    size = tensor.parameters.binary_data_size
    if (tensor.data is None) == (size is None):
        raise InvalidRequestError(f"{where}: give exactly one of data and binary_data_size")
    if size is not None:
        if size != declared.size_bytes:
            raise InvalidRequestError(
                f"{where}: binary_data_size must be {declared.size_bytes}, not {size}"
            )
        return np.frombuffer(binary, DTYPES[declared.datatype]).reshape(declared.shape)
    if not isinstance(tensor.data, list):
        raise InvalidRequestError(f"{where}: data must be a list of numbers")
    numbers: npt.NDArray[Any] = _NUMBERS[declared.datatype].parse(tensor.data)
    if numbers.size != prod(declared.shape):
        raise InvalidRequestError(
            f"{where}: data must hold {prod(declared.shape)} numbers, not {numbers.size}"
        )
    return numbers.reshape(declared.shape)


def chosen(
    outputs: Sequence[Output], declared: dict[str, Declared], binary: bool
) -> dict[str, bool]:
    """Return the names of the outputs to return, each with whether as binary data.

    Without a choice: what every step has. Raises InvalidRequestError.
    """
    names = [output.name for output in outputs]
    if unknown := [name[:_SHOWN] for name in names if name not in declared]:
        raise InvalidRequestError(f"outputs: no {unknown[:3]}; there are {', '.join(declared)}")
    if len(set(names)) < len(names):
        raise InvalidRequestError("outputs: each output once")
    if not outputs:
        return dict.fromkeys(DEFAULT_OUTPUTS, binary)
    choices = ((output.name, output.parameters.binary_data) for output in outputs)
    return {name: binary if choice is None else choice for name, choice in choices}


def write(
    head: dict[str, Any], tensors: Sequence[tuple[Declared, Any, bool]]
) -> tuple[bytes, int | None]:
    """Return a body of `head` with these outputs, and the length of its JSON.

    Each tensor comes with its value and whether to write it as binary data; without any binary
    data the length is None.
    """
    outputs, pieces = [], []
    for declared, value, binary in tensors:
        array = np.asarray(value, DTYPES[declared.datatype])
        if binary:
            pieces.append(array.tobytes())
            parts: dict[str, Any] = {"parameters": {"binary_data_size": declared.size_bytes}}
        else:
            parts = {"data": array.ravel()}
        outputs.append(declared.described() | parts)
    json = codec.encode({**head, "outputs": outputs}, as_msgpack=False)
    return b"".join((json, *pieces)), len(json) if pieces else None
