"""Frames as PNG files in messages: `{"png": file}`, a list of frames as a list of them.

The file is binary in msgpack, and base64 text in JSON. Callers in Python may give the bytes alone.
"""

from binascii import Error, a2b_base64
from collections.abc import Iterator
from math import inf
from typing import Any, NamedTuple

import numpy as np

from dreamserve_protocol.errors import InvalidRequestError, TooLargeError
from dreamserve_protocol.png import UInt8, decode, encode, header_of, is_frame

_MOST_AXES = 5  # of lists around a frame
_FORM = 'a PNG frame is {"png": file}, the file binary in msgpack and base64 in JSON'


class PngBounds(NamedTuple):
    """Bounds of the PNG files in one request, all of which are checked before any is decoded."""

    files: float = 2048
    pixels: float = 2**24  # of each file
    total_bytes: float = 32 * 2**20  # of all frames, once decoded


UNBOUNDED = PngBounds(inf, inf, inf)


def holds_png(value: Any) -> bool:
    """Return whether a value is a PNG file, or begins with one if it is a list."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, bytes) or (isinstance(value, dict) and "png" in value)


def is_mixed(value: Any) -> bool:
    """Return whether a value is a list in which some are PNG files, or lists of them, not all."""
    if not isinstance(value, list | tuple) or not {dict, bytes} & set(map(type, value)):
        return False
    return 0 < sum(map(holds_png, value)) < len(value)


def files_of(value: Any, axes: int = 0) -> Any:
    """Return the bytes of the files: one, or nested lists. Raises InvalidRequestError."""
    if isinstance(value, list | tuple) and axes < _MOST_AXES:
        return [files_of(one, axes + 1) for one in value]
    if isinstance(value, dict) and value.keys() == {"png"}:
        value = value["png"]
        if isinstance(value, str):
            try:
                value = a2b_base64(value, strict_mode=True)
            except (Error, ValueError) as error:  # ValueError: not ASCII
                raise InvalidRequestError(
                    f"png must be base64, and no data: URL: {error}"
                ) from None
    if not isinstance(value, bytes):
        raise InvalidRequestError(_FORM)
    return value


def frames_of(value: Any, bounds: PngBounds) -> UInt8:
    """Return the frames of PNG files as one array, with the axes of the lists in front.

    Raises InvalidRequestError for an invalid or oversized file, or for frames of different shapes,
    and TooLargeError for too many files or bytes; both before a file is decoded.
    """
    files = files_of(value)
    all_files = list(_flat(files))
    if len(all_files) > bounds.files:
        raise TooLargeError(f"{len(all_files)} PNG files, the limit is {bounds.files} frames")
    shapes = set[tuple[int, int, int]]()
    total = 0
    for file in all_files:
        header = header_of(file)
        shapes.add(header.shape)
        total += header.frame_bytes
        if header.width * header.height > bounds.pixels:
            size = f"{header.width} x {header.height} pixels"
            raise InvalidRequestError(
                f"a PNG file of {size}: no frame has more than {bounds.pixels} pixels here"
            )
    if total > bounds.total_bytes:
        raise TooLargeError(
            f"PNG files of {total} bytes when decoded, the limit is {bounds.total_bytes}"
        )
    if len(shapes) > 1:
        raise InvalidRequestError(f"the PNG files differ in shape: {sorted(shapes)[:5]}")
    try:
        return np.array(_each(decode, files))
    except ValueError as error:
        if isinstance(error, InvalidRequestError):
            raise
        raise InvalidRequestError("the lists of PNG files differ in length") from None


def as_png(array: Any) -> Any:
    """Return a frame as {"png": bytes}, frames as nested lists of them; other values as they are.

    Frames of more than four channels remain arrays: PNG has no such files.
    """
    if not isinstance(array, np.ndarray) or not is_frame(array):
        return array
    if array.ndim == 3:
        return {"png": encode(array)}
    return [as_png(one) for one in array]


def _flat(files: Any) -> Iterator[bytes]:
    if isinstance(files, bytes):
        yield files
        return
    for one in files:
        yield from _flat(one)


def _each(convert: Any, files: Any) -> Any:
    return convert(files) if isinstance(files, bytes) else [_each(convert, one) for one in files]
