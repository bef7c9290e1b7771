"""A bundle of a stranger is refused in one line, without a hang and within its bounds of memory."""

import io
import json
import os
import socket
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.archives import read_arrays
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.bundle import MAX_MANIFEST_BYTES, check_arrays, load_bundle, sha256_of
from dreamserve.engine.world import World
from dreamserve.errors import BundleError
from dreamserve.folder import Folder
from dreamserve.strict_json import parse
from dreamserve.trust import Trust

Rewrite = Callable[..., Path]
FILES = ("manifest.json", "step.onnx", "decode.pt", "bank.npz", "controller.npz")
posix = pytest.mark.skipif(os.name != "posix", reason="needs the file kinds of POSIX")


def refused(path: Path, trust: Trust | None = None) -> str:
    """Return the one line with which the bundle is refused."""
    with pytest.raises(BundleError) as error:
        load_bundle(path, trust or Trust())
    message = str(error.value)
    assert message.isprintable()
    assert str(path) in message
    return message


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(path.parent)  # a socket's path has at most about 100 characters
        try:
            listening.bind(path.name)
        finally:
            os.chdir(before)


def as_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        path.symlink_to("/dev/zero")


def as_link_outside(path: Path) -> None:
    outside = path.parent.parent / f"outside-{path.name}"
    outside.write_bytes(b"secret")
    path.symlink_to(outside)


def as_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def as_folder(path: Path) -> None:
    path.mkdir()


@posix
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("replace", "kind"),
    [
        (as_fifo, "a FIFO"),
        (as_socket, "a socket"),
        (as_device, "a device|a symbolic link"),
        (as_link_outside, "a symbolic link"),
        (as_link_to_itself, "a symbolic link"),
        (as_folder, "a folder"),
    ],
)
def test_only_regular_files_are_opened(
    tiny_bundle: Path, name: str, replace: Callable[[Path], None], kind: str
) -> None:
    (tiny_bundle / name).unlink()
    replace(tiny_bundle / name)
    message = refused(tiny_bundle)
    assert f"{name}: is " in message
    assert any(f"is {one}; a bundle has regular files only" in message for one in kind.split("|"))


@posix
def test_a_file_replaced_by_a_link_after_the_check_is_not_followed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular = os.lstat(tiny_bundle / "bank.npz")
    (tiny_bundle / "bank.npz").unlink()
    as_link_outside(tiny_bundle / "bank.npz")
    with monkeypatch.context() as patched:
        patched.setattr("dreamserve.folder.os.lstat", lambda path: regular)
        message = refused(tiny_bundle)
    assert "bank.npz: cannot be read: Too many levels of symbolic links" in message


def test_a_bundle_larger_than_its_limit_is_refused_before_it_is_read(tiny_bundle: Path) -> None:
    with (tiny_bundle / "bank.npz").open("r+b") as file:
        file.truncate(2**40)  # a hole: it takes no space
    message = refused(tiny_bundle)
    assert "bank.npz: 1,099,511,627,776 bytes; with it the bundle's files exceed" in message
    assert "max_bundle_bytes, which is 1,073,741,824" in message


def test_the_limit_is_on_all_files_together(tiny_bundle: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in tiny_bundle.iterdir()}
    assert load_bundle(tiny_bundle, Trust(max_bundle_bytes=sum(sizes.values())))
    assert "controller.npz: " in refused(
        tiny_bundle, Trust(max_bundle_bytes=sum(sizes.values()) - 1)
    )


def test_a_file_that_grows_while_it_is_read_is_read_to_the_size_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    shorter = os.stat_result((stat.S_IFREG | 0o600, *[0] * 5, 10, *[0] * 3))
    monkeypatch.setattr("dreamserve.folder.os.fstat", lambda _: shorter)
    assert Folder(tmp_path, 50).read("file") == b"x" * 10


def write_manifest_text(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            " " * (MAX_MANIFEST_BYTES + 1),
            f"manifest.json: {MAX_MANIFEST_BYTES + 1:,} bytes; it may have at most",
        ),
        ('{"name": "a", "name": "b"}', "is not JSON: 'name' occurs twice in an object"),
        ('{"quality": {"x": [{"a": 1, "a": 2}]}}', "'a' occurs twice"),
        ('{"quality": Infinity}', "Infinity is not JSON"),
        ('{"quality": -1e999}', "-1e999 is too large for a float"),
        ('{"quality": 9223372036854775808}', "9223372036854775808 has more than 64 bits"),
        ('{"quality": ' + "9" * 5000 + "}", "has more than 64 bits"),
        ('{"quality": ' + "[" * 40 + "]" * 40 + "}", "is nested deeper than 32 levels"),
        ('{"a":' * 900 + "1" + "}" * 900, "is nested deeper than 32 levels"),
        ('{"a":' * 100_000, "is not JSON"),
        ('"text"', "must be a JSON object, is str"),
        ("\ufeff{}", "is not JSON"),
    ],
)
def test_a_hostile_manifest_is_refused(tiny_bundle: Path, text: str, message: str) -> None:
    write_manifest_text(tiny_bundle, text)
    assert message in refused(tiny_bundle)


def test_a_manifest_that_is_not_utf8_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "manifest.json").write_bytes(b'{"name": "\xff"}')
    assert "is not JSON" in refused(tiny_bundle)


def changed(folder: Path, *keys: str, value: Any) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    part = fields
    for key in keys[:-1]:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[keys[-1]] = value
    write_manifest_text(folder, json.dumps(fields))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("latent_size",), 2**31, "latent_size: Input should be less than 2147483648"),
        (("latent_size",), -1, "latent_size: Input should be greater than or equal to 1"),
        (("recurrent_state", "0", "shape"), [-4, -4], "recurrent_state.0.shape.0: Input should be"),
        (("recurrent_state", "0", "shape"), [1] * 9, "recurrent_state.0.shape: Tuple should have"),
        (("observation", "shape"), [0, 4, 3], "frame.shape.0: Input should be greater"),
        (("observation", "value_range"), [1, 1], "value_range (1.0, 1.0) must rise"),
        (("observation", "value_range"), [0, 1e39], "value_range [0, 1e+39] is too wide for float"),
        (("observation", "value_range"), [-3e38, 3e38], "is too wide for float32"),
        (("observation", "value_range"), [0, 1e-320], "is too narrow for float32"),
        (("observation", "value_range"), [1e9, 1e9 + 1], "is too narrow for float32"),
        (("controller", "inputs"), [], "controller.inputs: Tuple should have at least 1 item"),
        (("\x1b[2J\n2026 INFO forged",), 1, "?[2J?2026 INFO forged: Extra inputs"),
        (("noise", "normal"), 2**40, "noise.normal: Input should be less"),
        (("bank", "size"), 2**40, "bank.size: Input should be less"),
        (("name",), "a" * 101, "name: String should have at most 100"),
        (("name",), "tiny\n2026 INFO forged", "name: String should match pattern"),
        (("name",), "ti\u0131ny", "name: String should match pattern"),
        (("bank", "file"), "..", "'..' is not a plain file name"),
        (("bank", "file"), "/etc/passwd", "'/etc/passwd' is not a plain file name"),
        (("bank", "file"), "b\u0430nk.npz", "is not a plain file name"),
        (("bank", "file"), "bank.npz\n", "is not a plain file name"),
        (("bank", "file"), "\x1b[2J", "is not a plain file name"),
        (("bank", "file"), "step.onnx", "names the file step.onnx twice"),
        (("bank", "file"), "STEP.onnx", "names the file step.onnx twice"),
    ],
)
def test_a_manifest_with_hostile_values_is_refused(
    tiny_bundle: Path, keys: tuple[str, ...], value: Any, message: str
) -> None:
    changed(tiny_bundle, *keys, value=value)
    assert message in refused(tiny_bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_strict_json_or_refused(content: bytes) -> None:
    try:
        fields = parse(content)
    except ValueError:
        return
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields


SHAPES = {"mu": (5, 4), "logvar": (5, 4)}
ROOM = 2**20


def npz(arrays: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive with these entries as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: Any, shape: str = "", allow_pickle: bool = False) -> bytes:
    """Return an array's .npy file; its header may declare another shape of as many characters."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    content = buffer.getvalue()
    if not shape:
        return content
    start, end = content.index(b"'shape': ") + 9, content.index(b"\n")
    header = content[:start] + f"{shape}, }}".encode()
    return header.ljust(end) + content[end:]


ZEROS = np.zeros((5, 4), np.float16)
ROWS = npy(ZEROS)


@contextmanager
def at_most(max_bytes: int) -> Iterator[None]:
    """Fail if the block's peak of memory is larger."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= max_bytes
    finally:
        tracemalloc.stop()


class Evil:
    """Raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz({"mu.npy": ROWS, "logvar.npy": bytes(2**26)}), "is not a plain .npz file"),
        (npz({"mu.npy": ROWS, "logvar.npy": ROWS + bytes(2**26)}), "logvar has .* bytes for"),
        (npz({"mu.npy": ROWS, "logvar.npy": npy(ZEROS, "(99999999, 9)")}), "logvar must be"),
        (npz({"mu.npy": ROWS, "logvar.npy": npy(ZEROS, "(-5, -4)")}), "logvar must be"),
        (npz({"mu.npy": ROWS, "logvar.npy": npy(ZEROS[:4], "(5, 4)")}), "has 32 bytes for"),
        (
            npz({"mu.npy": ROWS, "logvar.npy": npy(np.array([[Evil()]]), allow_pickle=True)}),
            "logvar is object, must be floats",
        ),
        (npz({"mu.npy": ROWS, "logvar.npy": npy(np.zeros((5, 4), "V4"))}), "logvar is .*V4"),
        (npz({"mu.npy": ROWS}), "must hold .* holds"),
        (npz({"mu.npy": ROWS, "../logvar.npy": ROWS}), "must hold .* holds"),
        (npz({"mu.npy": ROWS, "/logvar.npy": ROWS}), "must hold .* holds"),
        (npz({"mu.npy": ROWS, "logvar.npy": ROWS}, zipfile.ZIP_LZMA), "must be stored or deflated"),
        (npz({f"{i}.npy": b"" for i in range(1000)}), "it has too many entries"),
        (npz({"mu.npy": ROWS, "logvar.npy": b"\x93NUMPY\x03\x00" + ROWS[8:]}), "write 1.0 or 2.0"),
        (b"PK" + bytes(100), "is not a plain .npz file"),
        (b"", "is not a plain .npz file"),
    ],
)
def test_a_hostile_archive_is_refused_in_little_memory(content: bytes, message: str) -> None:
    with at_most(2**20), pytest.raises(BundleError, match=f"^bank.npz: .*{message}"):
        read_arrays(content, SHAPES, ROOM, "bank.npz")


def test_an_entry_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mu.npy", ROWS)
        archive.writestr("logvar.npy", ROWS)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("mu.npy", ROWS)
    with pytest.raises(BundleError, match="must hold"):
        read_arrays(buffer.getvalue(), SHAPES, ROOM, "bank.npz")


def test_a_zip_whose_headers_lie_about_sizes_is_not_believed() -> None:
    content = npz({"mu.npy": ROWS, "logvar.npy": ROWS + bytes(2**26)})
    real, declared = (struct.pack("<I", size) for size in (len(ROWS) + 2**26, len(ROWS)))
    assert content.count(real) == 2
    with at_most(2**20), pytest.raises(BundleError, match=r"is not a plain \.npz file"):
        read_arrays(content.replace(real, declared), SHAPES, ROOM, "bank.npz")


def test_arrays_that_the_manifest_declares_are_bounded_before_they_are_unpacked(
    tiny_bundle: Path, rewrite: Rewrite
) -> None:
    size = 2**27  # starting points; a file of zeros that matches has a few megabytes
    (tiny_bundle / "bank.npz").write_bytes(npz({"mu.npy": ROWS}))
    file = {"file": "bank.npz", "sha256": sha256_of(tiny_bundle / "bank.npz")}
    message = refused(rewrite(tiny_bundle, bank={**file, "size": size}))
    assert "take 21,474,836,480 bytes, more than max_bundle_bytes" in message


def test_numbers_too_large_for_float32_are_refused(tiny_bundle: Path, rewrite: Rewrite) -> None:
    with np.load(tiny_bundle / "bank.npz") as stored:
        arrays = {**stored, "mu": np.full((5, 4), 1e300)}
    np.savez(tiny_bundle / "bank.npz", **arrays)
    assert "mu holds NaN or infinity" in refused(rewrite(tiny_bundle))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(npz({"mu.npy": ROWS, "logvar.npy": ROWS}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays = read_arrays(bytes(content), SHAPES, ROOM, "bank.npz")
    except BundleError:
        return
    assert {name: array.shape for name, array in arrays.items()} == SHAPES


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_arrays_of_any_float_and_order_are_read_as_they_are(dtype: str, order: Any) -> None:
    values = np.arange(20).reshape(5, 4).astype(dtype, order=order)
    content = npz({"mu.npy": npy(values), "logvar.npy": ROWS}, zipfile.ZIP_STORED)
    mu = read_arrays(content, SHAPES, ROOM, "bank.npz")["mu"]
    np.testing.assert_array_equal(mu, values)
    assert mu.dtype == np.float32
    assert mu.flags.c_contiguous
    assert mu.flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
def test_reading_takes_little_more_memory_than_the_arrays(dtype: str, order: Any) -> None:
    rows = np.zeros((2**18, 8), dtype, order=order)
    rows[7, 3] = 5
    content = npz({"mu.npy": npy(rows)})
    shapes = {"mu": rows.shape}
    with at_most(4 * rows.size + 3 * 2**20):
        arrays = read_arrays(content, shapes, 4 * rows.size, "bank.npz")
        check_arrays(arrays, shapes, "bank.npz")
    np.testing.assert_array_equal(arrays["mu"], rows)


@pytest.mark.parametrize(("change", "found"), [(-1, "63 bytes"), (1, "more than 64 bytes")])
def test_an_array_of_another_length_is_refused(change: int, found: str) -> None:
    content = npy(np.ones((4, 2)))
    content = content[:change] if change < 0 else content + b"x"
    with pytest.raises(BundleError, match=rf"mu has {found} for \(4, 2\) of float64"):
        read_arrays(npz({"mu.npy": content}), {"mu": (4, 2)}, ROOM, "bank.npz")


@pytest.mark.parametrize(("mu", "logvar"), [(0, 300), (3.3e38, 172)])
def test_a_bank_whose_draws_overflow_is_refused(
    tiny_bundle: Path, rewrite: Rewrite, mu: float, logvar: float
) -> None:
    with np.load(tiny_bundle / "bank.npz") as stored:
        arrays = {name: stored[name].astype(np.float32) for name in stored}
    arrays["mu"][3], arrays["logvar"][3] = mu, logvar
    np.savez(tiny_bundle / "bank.npz", **arrays)
    message = refused(rewrite(tiny_bundle))
    told = f"it has mu up to {mu:g}, logvar up to {logvar:g}"
    assert f"a draw from moment 3 may be beyond float32: {told}" in message
    world = World(fake_spec(), FakeBackend(fake_spec()))
    bank = {name: part.repeat(5, axis=0) for name, part in world.bank.items()}
    bank["logvar"][4] = 300
    with pytest.raises(BundleError, match=r"fake: bank: a draw from moment 4 may be beyond"):
        World(fake_spec(), FakeBackend(fake_spec()), bank)


def test_an_error_quotes_a_bundle_in_one_printable_line_of_bounded_length() -> None:
    error = BundleError("a\n\x1b[31m\u202eb" + "c" * 10_000)
    assert str(error).startswith("a??[31m?bccc")
    assert len(str(error)) == 1000
