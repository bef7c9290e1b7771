"""Reads the arrays of an .npz file that a stranger wrote.

`numpy.load` believes what the archive says of itself: a few megabytes may unpack to any size, and
an array's header may declare any shape, for which memory is allocated before the data is read.
Here the names, shapes and types are known in advance, and no more than these is unpacked: a piece
at a time, so that reading takes little more memory than the arrays themselves.
"""

import io
import zipfile
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dreamserve.errors import BundleError

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]

_FLOATS = tuple(map(np.dtype, ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")))
_INTEGERS = tuple(map(np.dtype, ("<i4", "<i8", ">i4", ">i8")))
AGE = "age"  # the one array of integers
_MAX_HEADER_BYTES = 2**14  # of one .npy; numpy itself reads at most 10,000 characters
_NUMBERS_AT_ONCE = 2**15
_DIRECTORY_ENTRY = b"PK\x01\x02"
_BY_CHANCE = 8  # times that these four bytes may occur in compressed data


def read_arrays(
    content: bytes, expected: Mapping[str, Shape], max_bytes: int, where: str
) -> dict[str, Array]:
    """Return the arrays of an archive as float32; they have exactly these names and shapes.

    Unpacked, they take at most `max_bytes` as float32. Raises BundleError, which starts with
    `where`.
    """
    if (total := 4 * sum(map(prod, expected.values()))) > max_bytes:
        raise BundleError(
            f"{where}: its arrays, {dict(expected)}, take {total:,} bytes,"
            f" more than max_bundle_bytes, which is {max_bytes:,}"
        )
    try:
        # zipfile makes an object of each entry, of which a large file may have millions.
        if content.count(_DIRECTORY_ENTRY) > len(expected) + _BY_CHANCE:
            raise ValueError("it has too many entries")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names(archive, expected, where)
            return {name: _array(archive, name, shape, where) for name, shape in expected.items()}
    except BundleError:
        raise
    except Exception as error:  # zip, zlib and numpy raise many types for invalid archives
        raise BundleError(f"{where}: is not a plain .npz file: {error}") from error


def _check_names(archive: zipfile.ZipFile, expected: Mapping[str, Shape], where: str) -> None:
    found = sorted(name.removesuffix(".npy") for name in archive.namelist())
    if found != sorted(expected):
        raise BundleError(f"{where}: must hold {sorted(expected)}, holds {found}")


def _array(archive: zipfile.ZipFile, name: str, shape: Shape, where: str) -> Array:
    """Return an entry's array as float32. No more of it is unpacked than it may have."""
    file = f"{name}.npy"
    if archive.getinfo(file).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{file} must be stored or deflated")
    with archive.open(file) as entry:
        found, fortran_order, dtype, begun = _header(entry.read(_MAX_HEADER_BYTES))
        if dtype not in (_INTEGERS if name == AGE else _FLOATS):
            wanted = "integers of 4 or 8 bytes" if name == AGE else "floats of 2, 4 or 8 bytes"
            raise BundleError(f"{where}: {name} is {dtype}, must be {wanted}")
        if found != shape:
            raise BundleError(f"{where}: {name} must be {shape}, is {found}")
        array = np.empty(shape, np.float32)
        # Transposed, numbers in Fortran's order are in that of C.
        numbers = array.T.flat if fortran_order else array.reshape(-1)
        try:
            _fill(numbers, array.size, dtype, begun, entry)
        except EOFError as error:
            raise ValueError(f"{name} has {error} for {shape} of {dtype}") from None
    return array


def _fill(numbers: Any, count: int, dtype: np.dtype[Any], begun: bytes, entry: IO[bytes]) -> None:
    """Read numbers from `begun` and then the entry, a few at a time.

    Raises EOFError, which says how many bytes there are, if these are not all that there are.
    """
    for first in range(0, count, _NUMBERS_AT_ONCE):
        size = min(_NUMBERS_AT_ONCE, count - first)
        expected = size * dtype.itemsize
        data = begun[:expected] + entry.read(max(0, expected - len(begun)))
        begun = begun[expected:]
        if len(data) < expected:
            raise EOFError(f"{first * dtype.itemsize + len(data)} bytes")
        # Too large for float32: infinity, which is refused later.
        with np.errstate(over="ignore", invalid="ignore"):
            numbers[first : first + size] = np.frombuffer(data, dtype)
    if begun or entry.read(1):  # at the end, the checksum is compared, too
        raise EOFError(f"more than {count * dtype.itemsize} bytes")


def _header(content: bytes) -> tuple[Shape, bool, np.dtype[Any], bytes]:
    """Return an array's shape, whether it is in Fortran's order, its dtype, and what follows."""
    file = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"it has version {version} of the .npy format; write 1.0 or 2.0")
    shape, fortran_order, dtype = readers[version](file)
    return shape, fortran_order, dtype, content[file.tell() :]
