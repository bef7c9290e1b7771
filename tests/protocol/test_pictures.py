"""Frames as PNG files in messages: their forms, and bounds that hold before a file is decoded."""

import base64
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from dreamserve_protocol import pictures
from dreamserve_protocol.arrays import Array, pack
from dreamserve_protocol.errors import InvalidRequestError, TooLargeError
from dreamserve_protocol.pictures import PngBounds, as_png
from dreamserve_protocol.png import encode
from dreamserve_protocol.sample import MostLikely, SampleResult
from dreamserve_protocol.wire import read, with_png

OBSERVATION, FRAMES = Array("uint8 H W C", "float32 Z"), Array("uint8 F H W C")
FRAME = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
FILE = encode(FRAME)
TEXT = base64.b64encode(FILE).decode()


def huge(width: int, height: int, count: int = 1) -> list[dict[str, bytes]]:
    """Return files of a hundred bytes that say they hold so many pixels."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", fields), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return [{"png": b"\x89PNG\r\n\x1a\n" + b"".join(parts)}] * count


@pytest.mark.parametrize("form", [{"png": FILE}, {"png": TEXT}, FILE], ids=["bin", "text", "bytes"])
def test_a_frame_may_be_a_file(form):
    np.testing.assert_array_equal(OBSERVATION.parse(form), FRAME)
    several = FRAMES.parse([form, form])
    assert several.dtype == np.uint8
    np.testing.assert_array_equal(several, np.stack([FRAME, FRAME]))
    np.testing.assert_array_equal(OBSERVATION.read(form), FRAME)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (OBSERVATION, {"png": 7}, "a PNG frame is"),
        (OBSERVATION, {"png": [TEXT]}, "a PNG frame is"),
        (OBSERVATION, {"png": FILE, "shape": [4, 5, 3]}, "a PNG frame is"),
        (OBSERVATION, {"png": pack(FRAME)}, "a PNG frame is"),
        (OBSERVATION, {"png": "data:image/png;base64," + TEXT}, "must be base64, and no data: URL"),
        (OBSERVATION, {"png": TEXT[:-1]}, "must be base64"),
        (OBSERVATION, {"png": "é"}, "must be base64"),
        (OBSERVATION, {"png": ""}, "not a PNG file"),
        (OBSERVATION, {"png": FILE[:-1]}, "cut off"),
        (OBSERVATION, [{"png": FILE}], r"must be \(H, W, C\) uint8 or .*shape \[1, 4, 5, 3\]"),
        (FRAMES, {"png": FILE}, r"must be \(F, H, W, C\) uint8.*shape \[4, 5, 3\]"),
        (FRAMES, [[{"png": FILE}]], r"must be \(F, H, W, C\) uint8"),
        (FRAMES, [{"png": FILE}, {"png": encode(FRAME[1:])}], "differ in shape.*3, 5, 3.*4, 5, 3"),
        (Array("uint8 N H W C D"), [[FILE], [FILE, FILE]], "differ in length"),
        (Array("float32 Z"), {"png": FILE}, "exactly the keys dtype, shape and data"),
        (Array("float32 Z"), FILE, "must be"),
        (Array("int64 B"), [{"png": FILE}], "is dict"),
    ],
)
def test_another_form_is_refused_with_a_reason(field, value, words):
    with pytest.raises(InvalidRequestError, match=words):
        field.parse(value)


@pytest.mark.parametrize(
    "array", [FRAME, FRAME.tolist(), pack(FRAME)], ids=["np", "list", "packed"]
)
@pytest.mark.parametrize("file", [{"png": FILE}, {"png": TEXT}, FILE], ids=["bin", "text", "bytes"])
def test_a_list_of_frames_may_hold_arrays_and_files(array, file):
    for frames in ([array, file], [file, array, file], (array, array, file)):
        several = FRAMES.parse(frames)
        assert several.dtype == np.uint8
        np.testing.assert_array_equal(several, np.stack([FRAME] * len(frames)))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([{"png": FILE}, FRAME[1:].tolist()], r"frames differ in shape: \[\(3, 5, 3\), \(4, 5, 3"),
        ([FRAME, [{"png": FILE}], FILE], "the lists of PNG files differ in length"),
        ([{"png": FILE}, (FRAME + 0.5).tolist()], r"must be \(F, H, W, C\) uint8.*float64"),
        ([{"png": FILE}, (FRAME.astype(int) + 250).tolist()], "integers from 0 to 255"),
        ([{"png": FILE}, "text"], r"must be \(F, H, W, C\) uint8"),
        ([{"png": FILE}, None], r"must be \(F, H, W, C\) uint8"),
        ([{"png": FILE}, {"jpg": FILE}], "a packed array has exactly the keys"),
        ([FRAME.tolist(), {"png": 7}], "a PNG frame is"),
        ([{"png": FILE}, [[[True]]]], "is bool"),
    ],
)
def test_frames_of_both_forms_are_refused_with_a_reason(frames, words):
    with pytest.raises(InvalidRequestError, match=words):
        FRAMES.parse(frames)


def test_files_among_arrays_are_bounded_together():
    with pytest.raises(TooLargeError, match="2 PNG files"):
        FRAMES.parse([FRAME.tolist(), {"png": FILE}, {"png": FILE}], PngBounds(files=1))


def test_lists_nested_too_deep_are_refused():
    nested: object = {"png": FILE}
    for _ in range(900):
        nested = [nested]
    with pytest.raises(InvalidRequestError, match="a PNG frame is"):
        FRAMES.parse(nested)


@pytest.mark.parametrize(
    ("value", "bounds", "error", "words"),
    [
        (huge(2**31 - 1, 2**31 - 1), PngBounds(), InvalidRequestError, "2147483647 x 2147483647"),
        (huge(5000, 5000), PngBounds(pixels=19_200), InvalidRequestError, "more than 19200 pixels"),
        (huge(4000, 4000, 2), PngBounds(), TooLargeError, "128000000 bytes.*limit is 33554432"),
        (huge(1, 1, 3000), PngBounds(), TooLargeError, "3000 PNG files, the limit is 2048"),
    ],
)
def test_files_beyond_a_bound_are_refused_in_no_time_and_memory(
    value, bounds, error, words, monkeypatch
):
    monkeypatch.setattr(pictures, "decode", lambda file: pytest.fail("it was decoded"))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(error, match=words):
        FRAMES.parse(value, bounds)
    took_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert took_s < 0.1


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_frames_become_nested_lists_of_files_and_are_read_again(leading):
    shape = (*leading, *FRAME.shape)
    frames = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    files = as_png(frames)
    field = Array("uint8 H W C", "uint8 F H W C", "uint8 N F H W C")
    np.testing.assert_array_equal(field.read(files), frames)
    kept = field.read(files, keep_png=True)
    np.testing.assert_array_equal(field.parse(kept), frames)


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2, 6), np.uint8), np.zeros((0, 2, 2, 3), np.uint8), np.zeros((2, 2, 3)), None, 7],
)
def test_what_png_cannot_hold_stays_as_it_is(array):
    assert as_png(array) is array


def test_the_frames_of_a_results_parts_are_files_too():
    frames = np.stack([[FRAME, FRAME[::-1]]])
    numbers, latents = np.zeros((1, 2), np.float32), np.zeros((1, 2, 4), np.float32)
    ends = np.zeros((1, 2), np.bool_)
    best = MostLikely(latents[0], numbers[0], ends[0], frames[0])
    fields = with_png(SampleResult(latents, numbers, ends, frames, most_likely=best))
    assert fields["frames"] == [[{"png": encode(FRAME)}, {"png": encode(FRAME[::-1])}]]
    assert fields["most_likely"]["frames"] == fields["frames"][0]
    again = read(SampleResult, fields)
    np.testing.assert_array_equal(again.frames, frames)
    assert again.most_likely is not None
    np.testing.assert_array_equal(again.most_likely.frames, frames[0])
    assert read(SampleResult, fields, keep_png=True).frames[0][0] == encode(FRAME)
