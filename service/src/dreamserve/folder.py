"""Reads a folder that a stranger filled: only regular files directly in it, and only so much."""

import io
import os
import stat
from pathlib import Path

from dreamserve.errors import BundleError

# Without O_NONBLOCK, opening a FIFO waits for a writer. Windows has none of these but O_BINARY.
_FLAGS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class Folder:
    """The files of a folder, of which at most `max_bytes` are read altogether."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        self._left = max_bytes

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Return the content of the file `name`, a plain name.

        No link is followed and nothing but a regular file is opened; the size is checked before
        the first byte is read. Raises BundleError if the file is larger than `max_bytes` or than
        what is left of the folder's own; FileNotFoundError and NotADirectoryError if it is absent.
        """
        path = self.path / name
        try:
            _check_regular(path, os.lstat(path).st_mode)
            # The file may have been replaced in between; a link then fails to open.
            with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                _check_regular(path, found.st_mode)
                self._check_size(path, found.st_size, max_bytes)
                content = _read(file, found.st_size)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        self._left -= len(content)
        return content

    def _check_size(self, path: Path, size: int, max_bytes: int | None) -> None:
        if max_bytes is not None and size > max_bytes:
            raise BundleError(f"{path}: {size:,} bytes; it may have at most {max_bytes:,}")
        if size > self._left:
            raise BundleError(
                f"{path}: {size:,} bytes; with it the bundle's files exceed max_bundle_bytes,"
                f" which is {self.max_bytes:,}"
            )


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise BundleError(f"{path}: is {kind}; a bundle has regular files only, so copy it there")


def _read(file: io.FileIO, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
