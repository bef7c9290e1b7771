"""PNG files to frames and back: uint8 (H, W, C); C is 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA.

A palette is RGB, and grey of 1, 2 or 4 bits is scaled to 8, for both lose nothing; the rest of what
PNG offers is refused. Colour profiles, gamma and texts are skipped: pixels are taken as stored.
Source: PNG specification, third edition (W3C, 2025); `§` are its sections.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve_protocol.errors import InvalidRequestError

UInt8 = npt.NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 3, GREY_ALPHA: 2, RGBA: 4}
_COLOURS = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}  # of the files that `encode` writes
_DEPTHS = {GREY: (1, 2, 4, 8), PALETTE: (1, 2, 4, 8)}
_HEAD, _IHDR, _CRC = struct.Struct(">I4s"), struct.Struct(">IIBBBBB"), struct.Struct(">I")
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip  # Adam7 (§8.1): first x and y, steps of x and y
_REFUSED = {
    b"acTL": "an animation; send a file for each frame",
    b"tRNS": "transparency outside the pixels (tRNS); save it as RGB or RGBA",
}
_FEW_CHUNKS, _CHUNK_BYTES = 64, 256  # beyond the first ones, they have that size on average
_SUB = 1  # filter type: the difference to the pixel on the left (§9.2)
_LEVEL = 1  # of zlib: higher ones take several times longer, for a tenth of the bytes


class Header(NamedTuple):
    """What a file says of its image before the pixels."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C of the frame."""
        return self.height, self.width, _CHANNELS[self.colour]

    @property
    def frame_bytes(self) -> int:
        """Size of the frame."""
        return prod(self.shape)

    @property
    def stream_bytes(self) -> int:
        """Size of the decompressed data: each row of each pass has a byte for its filter."""
        bits = self.depth * (1 if self.colour == PALETTE else _CHANNELS[self.colour])
        total = 0
        for x, y, dx, dy in _PASSES if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(self.width - x) // dx), -(-(self.height - y) // dy)
            total += max(rows, 0) * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
        return total


def header_of(file: bytes) -> Header:
    """Return a file's header. Raises InvalidRequestError for what is no PNG file of 8-bit frames.

    It takes a microsecond, whatever the file says of itself.
    """
    if not file.startswith(SIGNATURE):
        raise InvalidRequestError("this is not a PNG file: its signature is missing")
    kind, data = next(_chunks(file))
    if kind != b"IHDR" or len(data) != _IHDR.size:
        raise _damaged("it does not begin with a header (IHDR)")
    width, height, depth, colour, compression, filtering, interlace = _IHDR.unpack(data)
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise _damaged(f"it has {width} x {height} pixels")
    if colour not in _CHANNELS or compression or filtering or interlace > 1:
        raise _damaged("its header has values that PNG does not know")
    if depth == 16:
        raise InvalidRequestError("the PNG file has 16 bits per channel; frames have 8")
    if depth not in _DEPTHS.get(colour, (8,)):
        raise _damaged(f"its header has {depth} bits per channel")
    return Header(width, height, depth, colour, interlace == 1)


def decode(file: bytes) -> UInt8:
    """Return the frame (H, W, C) in a file, whose size the caller has checked by `header_of`.

    Raises InvalidRequestError for a file that is damaged, cut off, or longer than its image, and
    ImportError without Pillow, which undoes all filters but the one that `encode` uses.
    """
    header = header_of(file)
    palette, parts, previous = b"", list[bytes](), b""
    chunks = _chunks(file)
    next(chunks)  # the header
    for kind, data in chunks:
        if kind in _REFUSED:
            raise InvalidRequestError(f"the PNG file has {_REFUSED[kind]}")
        if kind == b"IDAT":
            if parts and previous != kind:
                raise _damaged("its image data (IDAT) is interrupted")
            parts.append(data)
        elif kind == b"PLTE":
            palette = data
        elif not kind[0] & 0x20 and kind != b"IEND":  # §5.4: a critical chunk
            raise _damaged(f"its chunk {kind!r} is unknown, or out of place")
        previous = kind
    rows = _inflated(b"".join(parts), header.stream_bytes)
    plain = header.depth == 8 and header.colour != PALETTE and not header.interlaced
    if plain and (filtered := _rows_of(header, rows))[:, 0].min() == _SUB == filtered[:, 0].max():
        differences = np.ascontiguousarray(filtered[:, 1:]).reshape(header.shape)
        frame: UInt8 = np.add.accumulate(differences, axis=1, dtype=np.uint8)
        return frame
    return _unfiltered(header, palette, rows)


def encode(frame: UInt8) -> bytes:
    """Return a frame (H, W, C) as a file; `is_frame` tells which arrays are frames.

    It takes half of Pillow's time and, as zlib does, releases the interpreter's lock meanwhile.
    """
    height, width, channels = frame.shape
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _SUB
    pixels = rows[:, 1:].reshape(frame.shape)  # a view
    pixels[:, :1] = frame[:, :1]
    np.subtract(frame[:, 1:], frame[:, :-1], out=pixels[:, 1:])
    return _file(
        Header(width, height, 8, _COLOURS[channels], False), zlib.compress(rows.data, _LEVEL)
    )


def is_frame(array: npt.NDArray[Any]) -> bool:
    """Return whether an array is a frame, or frames with leading axes, that PNG files can hold."""
    is_image = array.dtype == np.uint8 and array.ndim >= 3 and array.size > 0
    return bool(is_image and array.shape[-1] in _COLOURS)


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and data (§5.3), to the end of the file, which IEND must be."""
    at, kind, count = len(SIGNATURE), b"", 0
    while at < len(file):
        count += 1
        if count > _FEW_CHUNKS + at // _CHUNK_BYTES:
            raise _damaged("it consists of too many small chunks")
        if kind == b"IEND":
            raise _damaged(f"{len(file) - at} bytes follow its end (IEND)")
        try:
            length, kind = _HEAD.unpack_from(file, at)
            start = at + _HEAD.size
            (crc,) = _CRC.unpack_from(file, start + length)
        except struct.error:
            raise _damaged("it is cut off") from None
        data = file[start : start + length]
        if zlib.crc32(data, zlib.crc32(kind)) != crc:
            raise _damaged(f"its chunk {kind!r} has another checksum (CRC)")
        at = start + length + _CRC.size
        yield kind, data
    if kind != b"IEND":
        raise _damaged("it is cut off: its end (IEND) is missing")


def _inflated(data: bytes, expected: int) -> bytes:
    """Return the decompressed data of exactly that size; never hold more than one byte beyond."""
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(data, expected + 1)
    except zlib.error as problem:
        raise _damaged(f"its image data is not zlib's: {problem}") from None
    if len(rows) > expected or inflater.unused_data:
        raise _damaged("its image data is longer than its image")
    if len(rows) < expected or not inflater.eof:
        raise _damaged("its image data is shorter than its image")
    return rows


def _rows_of(header: Header, rows: bytes) -> UInt8:
    return np.frombuffer(rows, np.uint8).reshape(header.height, -1)


def _unfiltered(header: Header, palette: bytes, rows: bytes) -> UInt8:
    """Return the frame in decompressed data, by Pillow; it gets chunks that were checked."""
    try:
        from PIL.PngImagePlugin import PngImageFile
    except ImportError as problem:
        advice = "pip install 'dreamserve-protocol[png]'"
        raise ImportError(f"this PNG file needs Pillow: {advice}") from problem
    if header.colour == PALETTE and (len(palette) % 3 or not 0 < len(palette) <= 3 * 256):
        raise _damaged("its palette (PLTE) is missing, or of a wrong size")
    palette = palette if header.colour == PALETTE else b""  # else a mere suggestion (§11.2.2)
    try:
        with PngImageFile(BytesIO(_file(header, zlib.compress(rows, 0), palette))) as image:
            if palette and int(np.asarray(image).max()) >= len(palette) // 3:
                raise _damaged("a pixel is outside its palette (PLTE)")
            mode = {GREY: "L", PALETTE: "RGB"}.get(header.colour)
            frame = np.array(image if mode is None else image.convert(mode))
    except OSError as problem:
        raise _damaged(f"{problem}") from None
    return frame.reshape(header.shape)


def _file(header: Header, compressed: bytes, palette: bytes = b"") -> bytes:
    fields = (header.width, header.height, header.depth, header.colour, 0, 0, header.interlaced)
    chunks = [_chunk(b"IHDR", _IHDR.pack(*fields)), _chunk(b"IDAT", compressed)]
    if palette:
        chunks.insert(1, _chunk(b"PLTE", palette))
    return b"".join([SIGNATURE, *chunks, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(data, zlib.crc32(kind))
    return b"".join([_HEAD.pack(len(data), kind), data, _CRC.pack(crc)])


def _damaged(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"the PNG file is damaged: {why}")
