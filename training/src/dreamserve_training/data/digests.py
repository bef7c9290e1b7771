"""Digests of training data: they tell whether a run goes on with the data it began with."""

import zipfile
from collections.abc import Iterable, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from dreamserve_training.data.episodes import DataError

Digest = dict[str, Any]


def files_digest(paths: Sequence[Path]) -> Digest:
    """Return the number, total size and SHA-256 of `.npz` files: of their `npz_lines`."""
    digest = sha256()
    for path in paths:
        digest.update("".join(npz_lines(path)).encode())
    size = sum(path.stat().st_size for path in paths)
    return {"files": len(paths), "bytes": size, "sha256": digest.hexdigest()}


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files."""
    lines = (f"{path.name} {file_hash(path)}\n" for path in sorted(folder.iterdir()))
    return sha256("".join(lines).encode()).hexdigest()


def npz_lines(path: Path) -> Iterable[str]:
    """Yield a line for each array of an `.npz` file: its name, size and CRC-32.

    They are read from the archive's directory, which takes no time even for large files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as an episode ({error})") from error
    for member in members:
        yield f"{path.name} {member.filename} {member.file_size} {member.CRC:08x}\n"


def batches_digest(batches: Any) -> Digest | None:
    """Return what identifies the batches of a loader; None for no loader.

    The loader's dataset may have a method `digest`. Without one its data is `unknown`: a change of
    data is then not noticed.
    """
    if batches is None:
        return None
    digest = getattr(getattr(batches, "dataset", None), "digest", None)
    if digest is None:
        return {"loader": type(batches).__name__, "data": "unknown"}
    # a sampler of whole batches says their size, the loader then does not
    sampler = getattr(getattr(batches, "batch_sampler", batches), "sampler", None)
    order = {name: getattr(sampler, name, None) for name in ("shuffle", "seed")}
    size = getattr(sampler, "batch_size", batches.batch_size)
    return {**digest(), "batch_size": size, **order}
