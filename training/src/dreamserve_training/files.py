"""Atomic writes: a file is written completely or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file. It is renamed to `path` if the block succeeds, else removed.

    Its name ends in `.partial`, so readers of the directory ignore it. It is on the disk before it
    is renamed, so a machine that loses power has the old file or the new one.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_arrays(file: Path | BinaryIO, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named `arrays` to `file` in numpy's `.npz` format."""
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes names for its own options
