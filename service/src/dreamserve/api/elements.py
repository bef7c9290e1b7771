"""Counts what a body holds before anything is built of it.

A byte of a body can become an empty list, which takes 80 times its bytes and far more time than a
number; a msgpack list reserves the memory for the length that it declares. JSON is counted by its
punctuation, that inside strings included; msgpack by its declared lengths, in one pass.
"""

import re
from dataclasses import dataclass

from dreamserve_protocol.errors import TooLargeError

SMALL_BYTES = 1024  # a body of this size holds too little to be worth counting
LARGE_BYTES = 64 * 1024  # a larger body is decoded, and counts as large, whatever it holds


@dataclass(frozen=True, slots=True)
class Most:
    """The most that a body may hold."""

    elements: int  # of all lists and objects
    lists: int  # lists, objects and keys, which take far more time than a number


MOST = Most(1_000_000, 100_000)
_QUICK = Most(20_000, 500)  # takes a few milliseconds to decode and validate

# A run of numbers, constants, strings of up to 31 bytes, and 32-byte strings such as session ids.
# Each length of a string is an alternative: msgpack's tag gives it.
_SCALARS = re.compile(
    b"(?:[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|\xcc.|\xd0.|\xcd..|\xd1..|[\xca\xce\xd2].{4}"
    b"|[\xcb\xcf\xd3].{8}|\xd9\x20.{32}|"
    + b"|".join(b"%c.{%d}" % (0xA0 + length, length) for length in range(32))
    + b"){,16384}+",  # few enough that other threads get their turn
    re.DOTALL,
)
# Bytes of the length behind a tag, and bytes between that and the content (an ext's type).
_BYTES = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_BYTES |= {0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_FIXED_EXT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_CONTAINERS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # bytes of a list's or an object's length


def is_quick(body: bytes, as_msgpack: bool) -> bool:
    """Return whether a body is decoded and validated in so little time that no thread is needed.

    Decoders hold the interpreter's lock even in a thread; that time is bounded by `Most`.
    """
    if len(body) <= SMALL_BYTES:
        return True
    if len(body) > LARGE_BYTES:
        return False
    try:
        check(body, as_msgpack, _QUICK)
    except TooLargeError:
        return False
    return True


def check(body: bytes, as_msgpack: bool, most: Most) -> None:
    """Raise TooLargeError if a body, valid or not, holds more than `most`."""
    if len(body) <= SMALL_BYTES:
        return
    if as_msgpack:
        _check_msgpack(body, most)
        return
    lists = sum(map(body.count, (b"[", b"{", b":")))
    _compare(lists + body.count(b","), lists, most)


def _check_msgpack(body: bytes, most: Most) -> None:
    position, end = 0, len(body)
    elements = lists = pieces = 0
    while position < end and pieces <= 2 * elements + 1:  # more is malformed: decoding says so
        pieces += 1
        tag = body[position]
        if 0x80 <= tag <= 0x9F or tag in _CONTAINERS:
            width = _CONTAINERS.get(tag, 0)
            position += 1 + width
            length = int.from_bytes(body[position - width : position]) if width else tag & 0x0F
            is_object = tag < 0x90 or tag > 0xDD
            lists, elements = lists + 1 + (length if is_object else 0), elements + length
            if lists > most.lists or elements > most.elements:
                _compare(elements, lists, most)
        elif (run := _SCALARS.match(body, position)) and run.end() > position:
            position = run.end()
        elif tag in _BYTES:
            width, gap = _BYTES[tag]
            length = int.from_bytes(body[position + 1 : position + 1 + width])
            position += 1 + width + gap + length
        elif tag in _FIXED_EXT:
            position += 2 + _FIXED_EXT[tag]
        else:
            return  # malformed or cut off


def _compare(elements: int, lists: int, most: Most) -> None:
    if lists > most.lists:
        raise TooLargeError(
            f"the body has more than {most.lists} lists, objects and keys;"
            " send arrays packed, as msgpack"
        )
    if elements > most.elements:
        raise TooLargeError(
            f"the body has more than {most.elements} elements; send arrays packed, as msgpack"
        )
