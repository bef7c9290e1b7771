"""Atomic writes: a file is written completely or not at all."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_PARTIAL = re.compile(r"\.(\d+)\.partial$")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file. It is renamed to `path` if the block succeeds, else removed.

    Its name ends in `.partial`, so readers of the directory ignore it. It is on the disk before it
    is renamed, so a machine that loses power has the old file or the new one. OSError names `path`.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block that names no file, such as that of a full disk, name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:  # numpy's tell how many items were written, and no reason
            raise OSError(f"{path}: not written ({error}); is the disk full?") from error
        error.filename = str(path)
        raise


def remove_partials(folder: Path) -> None:
    """Remove the temporary files of processes that were killed, in `folder` and below."""
    for path in folder.rglob("*.partial"):
        written = _PARTIAL.search(path.name)
        if written and path.is_file() and not _is_alive(int(written[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_arrays(file: Path | BinaryIO, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named `arrays` to `file` in numpy's `.npz` format."""
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes names for its own options
