"""Reads the arrays of an .npz file that a stranger wrote.

`numpy.load` believes what the archive says of itself: a few megabytes may unpack to any size, and
an array's header may declare any shape, for which memory is allocated before the data is read.
Here the names, shapes and types are known in advance, and no more than these is unpacked.
"""

import io
import zipfile
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.errors import BundleError

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]

_FLOATS = tuple(map(np.dtype, ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")))
_INTEGERS = tuple(map(np.dtype, ("<i4", "<i8", ">i4", ">i8")))
AGE = "age"  # the one array of integers
_MAX_HEADER_BYTES = 2**14  # of one .npy; numpy itself reads at most 10,000 characters
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
            return {
                name: _array(_unpacked(archive, f"{name}.npy", shape), name, shape, where)
                for name, shape in expected.items()
            }
    except BundleError:
        raise
    except Exception as error:  # zip, zlib and numpy raise many types for invalid archives
        raise BundleError(f"{where}: is not a plain .npz file: {error}") from error


def _check_names(archive: zipfile.ZipFile, expected: Mapping[str, Shape], where: str) -> None:
    found = sorted(name.removesuffix(".npy") for name in archive.namelist())
    if found != sorted(expected):
        raise BundleError(f"{where}: must hold {sorted(expected)}, holds {found}")


def _unpacked(archive: zipfile.ZipFile, name: str, shape: Shape) -> bytes:
    """Return an entry's bytes; no more of them are unpacked than the expected array may have."""
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} must be stored or deflated")
    with archive.open(name) as entry:
        return entry.read(_MAX_HEADER_BYTES + 8 * prod(shape))  # float64 is the largest type


def _array(content: bytes, name: str, shape: Shape, where: str) -> Array:
    """Return the array of a .npy file, as float32."""
    found, fortran_order, dtype, data = _header(content)
    if dtype not in (_INTEGERS if name == AGE else _FLOATS):
        wanted = "integers of 4 or 8 bytes" if name == AGE else "floats of 2, 4 or 8 bytes"
        raise BundleError(f"{where}: {name} is {dtype}, must be {wanted}")
    if found != shape:
        raise BundleError(f"{where}: {name} must be {shape}, is {found}")
    if len(data) != dtype.itemsize * prod(shape):
        raise ValueError(f"{name} has {len(data)} bytes for {shape} of {dtype}")
    stored = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # too large for float32: infinity, which is refused later
        return np.ascontiguousarray(stored, np.float32).reshape(shape).copy()


def _header(content: bytes) -> tuple[Shape, bool, np.dtype[Any], memoryview]:
    """Return an array's shape, whether it is in Fortran's order, its dtype, and its data."""
    file = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"it has version {version} of the .npy format; write 1.0 or 2.0")
    shape, fortran_order, dtype = readers[version](file)
    return shape, fortran_order, dtype, memoryview(content)[file.tell() :]
