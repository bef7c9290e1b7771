"""PNG files: every 8-bit frame comes back, whoever wrote it; what is no whole frame is refused."""

import builtins
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.png import decode, encode, header_of, is_frame

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]  # fmt: skip
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
GREY, RGB, PALETTE = 0, 2, 3
FRAMES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.uint8, shape)
)
FRAME = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int = 8, colour: int = RGB, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def file_of(*chunks: bytes) -> bytes:
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks, chunk(b"IEND")])


def data_of(pixels: np.ndarray, depth: int = 8) -> bytes:
    """Return the unfiltered rows of samples (H, W, C) of `depth` bits, without compression."""
    rows = []
    for row in pixels.reshape(len(pixels), -1):
        bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :]
        rows.append(b"\0" + np.packbits(bits.ravel()).tobytes())
    return b"".join(rows)


def written(
    pixels: np.ndarray,
    colour: int,
    depth: int = 8,
    *,
    interlaced: bool = False,
    between: bytes = b"",
) -> bytes:
    """Return a file of samples (H, W, C), of kinds that no library writes."""
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [pixels]
    data = b"".join(data_of(part, depth) for part in parts if part.size)
    height, width, _ = pixels.shape
    first = header(width, height, depth, colour, int(interlaced))
    return file_of(first, between, chunk(b"IDAT", zlib.compress(data)))


def by_pillow(frame: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame).save(buffer, "PNG", **options)
    return buffer.getvalue()


@settings(deadline=None, max_examples=60)
@given(FRAMES)
def test_a_frame_of_any_shape_comes_back(frame):
    assert is_frame(frame)
    assert same(decode(encode(frame)), frame)
    assert same(decode(encode(frame[::-1, ::-1])), np.ascontiguousarray(frame[::-1, ::-1]))


@settings(deadline=None, max_examples=40)
@given(FRAMES)
def test_another_librarys_file_is_read_and_it_reads_ours(frame):
    with Image.open(io.BytesIO(encode(frame))) as image:
        assert same(np.array(image).reshape(frame.shape), frame)
    assert same(decode(by_pillow(frame)), frame)


@settings(deadline=None, max_examples=40)
@given(FRAMES)
def test_an_interlaced_file_is_read(frame):
    assert same(decode(written(frame, COLOURS[frame.shape[2]], interlaced=True)), frame)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2, 4]), st.booleans(), st.data())
def test_grey_of_fewer_bits_is_scaled_to_eight(depth, interlaced, data):
    most = 2**depth - 1
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(1)))
    samples = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, most)))
    frame = decode(written(samples, GREY, depth, interlaced=interlaced))
    assert same(frame, samples * np.uint8(255 // most))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.data())
def test_a_palette_is_its_colours(depth, interlaced, data):
    colours = data.draw(hnp.arrays(np.uint8, (data.draw(st.integers(1, 2**depth)), 3)))
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(1)))
    indices = st.integers(0, len(colours) - 1)
    samples = data.draw(hnp.arrays(np.uint8, shape, elements=indices))
    palette = chunk(b"PLTE", colours.tobytes())
    frame = decode(written(samples, PALETTE, depth, interlaced=interlaced, between=palette))
    assert same(frame, colours[samples[..., 0]])


def test_pixels_are_taken_as_stored_whatever_is_said_beside_them():
    extra = (
        chunk(b"gAMA", struct.pack(">I", 1)) + chunk(b"tEXt", b"Title\0x") + chunk(b"eXIf", b"M")
    )
    assert same(decode(written(FRAME, RGB, between=extra)), FRAME)
    assert same(decode(written(FRAME, RGB, between=chunk(b"PLTE", bytes(3)))), FRAME)


def test_image_data_may_come_in_several_chunks():
    data = zlib.compress(data_of(FRAME))
    parts = [chunk(b"IDAT", data[i : i + 5]) for i in range(0, len(data), 5)]
    assert same(decode(file_of(header(3, 2), chunk(b"IDAT"), *parts)), FRAME)


GOOD = written(FRAME, RGB)
DATA = data_of(FRAME)
IDAT = chunk(b"IDAT", zlib.compress(DATA))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "not a PNG file"),
        (b"GIF89a", "not a PNG file"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "not a PNG file"),
        (file_of(IDAT), "does not begin with a header"),
        (file_of(chunk(b"IHDR", bytes(12)), IDAT), "does not begin with a header"),
        (file_of(header(0, 2), IDAT), "has 0 x 2 pixels"),
        (file_of(header(2**31, 2), IDAT), "has 2147483648 x 2 pixels"),
        (file_of(header(3, 2, colour=5), IDAT), "values that PNG does not know"),
        (file_of(header(3, 2, interlace=2), IDAT), "values that PNG does not know"),
        (file_of(header(3, 2, depth=4), IDAT), "4 bits per channel"),
        (file_of(header(3, 2, depth=16), IDAT), "16 bits per channel; frames have 8"),
        (written(FRAME, RGB, between=chunk(b"acTL", bytes(8))), "an animation"),
        (written(FRAME, RGB, between=chunk(b"tRNS", bytes(6))), "transparency outside the pixels"),
        (written(FRAME, RGB, between=chunk(b"ABCD")), "chunk b'ABCD' is unknown"),
        (written(FRAME, RGB, between=header(3, 2)), "chunk b'IHDR' is unknown, or out of place"),
        (file_of(header(3, 2), IDAT, chunk(b"tEXt"), IDAT), "is interrupted"),
        (GOOD + b"x", "1 bytes follow its end"),
        (GOOD[:-12], "its end .IEND. is missing"),
        (GOOD[:-1], "it is cut off"),
        (file_of(header(3, 2), *[chunk(b"IDAT")] * 100, IDAT), "too many small chunks"),
        (file_of(header(3, 2)), "shorter than its image"),
        (file_of(header(3, 3), IDAT), "shorter than its image"),
        (file_of(header(3, 1), IDAT), "longer than its image"),
        (file_of(header(3, 2), chunk(b"IDAT", zlib.compress(DATA)[:-2])), "shorter than its image"),
        (file_of(header(3, 2), chunk(b"IDAT", zlib.compress(DATA) + b"x")), "longer than its"),
        (file_of(header(3, 2), chunk(b"IDAT", b"no zlib")), "its image data is not zlib's"),
        (file_of(header(3, 2), chunk(b"IDAT", zlib.compress(b"\7" + DATA[1:]))), "is damaged"),
        (written(FRAME[..., :1], PALETTE), "palette .PLTE. is missing"),
        (written(FRAME[..., :1], PALETTE, between=chunk(b"PLTE", bytes(4))), "of a wrong size"),
        (written(FRAME[..., :1], PALETTE, between=chunk(b"PLTE", bytes(771))), "of a wrong size"),
        (written(FRAME[..., :1], PALETTE, between=chunk(b"PLTE", bytes(9))), "outside its palette"),
    ],
)  # fmt: skip
def test_what_is_no_whole_frame_is_refused_with_a_reason(file, words):
    with pytest.raises(InvalidRequestError, match=words):
        decode(file)


@pytest.mark.parametrize("file", [GOOD, encode(FRAME)], ids=["unfiltered", "ours"])
def test_no_damage_goes_unnoticed(file):
    for i in range(len(file)):
        for damaged in (file[:i], file[:i] + bytes([file[i] ^ 0x20]) + file[i + 1 :]):
            with pytest.raises(InvalidRequestError):
                decode(damaged)


def test_the_size_is_known_from_the_header_alone():
    huge = file_of(header(2**31 - 1, 2**31 - 1, colour=6), IDAT)
    assert header_of(huge).shape == (2**31 - 1, 2**31 - 1, 4)
    assert header_of(huge).frame_bytes == 4 * (2**31 - 1) ** 2


def test_data_beyond_the_image_is_never_held():
    file = file_of(header(64, 64), chunk(b"IDAT", zlib.compress(bytes(100_000_000), 9)))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InvalidRequestError, match="longer than its image"):
        decode(file)
    took_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(file) + 64 * 1024
    assert took_s < 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((2, 2, 3), np.int64),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 3), np.bool_),
    ],
)
def test_what_png_cannot_hold_is_no_frame(array):
    assert not is_frame(array)


def test_files_of_the_server_need_no_pillow(monkeypatch):
    of_pillow, imported = by_pillow(FRAME), builtins.__import__

    def without_pillow(name: str, *args: object) -> object:
        if name.startswith("PIL"):
            raise ImportError("no PIL")
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    assert same(decode(encode(FRAME)), FRAME)
    with pytest.raises(ImportError, match="needs Pillow: pip install"):
        decode(of_pillow)
