"""A bundle with mutated files, most sealed again, is loaded whole or refused in one line."""

import hashlib
import io
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from dreamserve.bundle import content_version, load_bundle
from dreamserve.errors import BundleError

from .mutations import mutated_bytes, mutated_document

TAKECOVER = Path(__file__).parents[2] / "bundles" / "takecover"
MANIFEST, SMALL = "manifest.json", ("bank.npz", "controller.npz")
CASE_S = 1.0  # it hashes 12 MB
Files = dict[str, bytes]  # those that differ from the bundle


def mutated_archive(random: Random, archive: bytes) -> bytes:
    """Return an npz archive with mutated bytes, or with mutated arrays in a valid archive."""
    if random.random() < 0.3:
        return mutated_bytes(random, archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        members = {name: read.read(name) for name in read.namelist()}
    name = random.choice(list(members))
    match random.randrange(5):
        case 0:
            del members[name]
        case 1:
            members[random.choice(["../up.npy", "mu.npy", "a" * 300, "x"])] = members[name]
        case 2:
            members[name] = npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case 3:
            members[name] = npy(np.full((64, 64), np.nan, random.choice(["f2", "f4", "f8", "c8"])))
        case _:  # the header of the array, for example its shape
            head, rest = members[name][:128], members[name][128:]
            members[name] = mutated_bytes(random, head) + rest
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", random.choice([0, 8])) as written:
        for member, content in members.items():
            written.writestr(member, content)
    return out.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


def sealed(manifest: Any, files: Files) -> bytes:
    """Return the manifest with the hashes of `files`, and its own version."""
    for spec in (manifest["bank"], manifest["controller"]):
        if spec["file"] in files:
            spec["sha256"] = hashlib.sha256(files[spec["file"]]).hexdigest()
    return versioned(manifest)


def versioned(manifest: Any) -> bytes:
    if isinstance(manifest, dict):
        with suppress(ValueError, TypeError):  # NaN, which no version covers
            manifest = {**manifest, "version": content_version(manifest)}
    return json.dumps(manifest).encode()


@pytest.fixture(scope="module")
def original() -> Files:
    if not TAKECOVER.is_dir():
        pytest.skip("bundles/takecover is not there")
    return {path.name: path.read_bytes() for path in TAKECOVER.iterdir()}


def test_a_mutated_bundle_is_loaded_or_refused_in_one_line(
    fuzzer, original: Files, tmp_path: Path
) -> None:
    folder, changed = shutil.copytree(TAKECOVER, tmp_path / "bundle"), set[str]()
    load_bundle(folder)

    def mutated(random: Random) -> Files:
        manifest = json.loads(original[MANIFEST])
        match random.randrange(8):
            case 0:
                return {MANIFEST: mutated_bytes(random, original[MANIFEST])}
            case 1 | 2 | 3:
                return {MANIFEST: versioned(mutated_document(random, manifest, times=2))}
            case 4:
                name = random.choice(sorted(original))
                return {name: mutated_bytes(random, original[name])}
            case _:
                name = random.choice(SMALL)
                files = {name: mutated_archive(random, original[name])}
                return {**files, MANIFEST: sealed(manifest, files)}

    def load(files: Files) -> None:
        for name in changed | files.keys():  # the rest is as it was
            (folder / name).write_bytes(files.get(name, original[name]))
        changed.clear()
        changed.update(files)
        try:
            bundle = load_bundle(folder)
        except BundleError as error:
            message = str(error)
        else:
            message = bundle.manifest.name
        assert message
        assert "\n" not in message

    fuzzer.run(mutated, load, cases=60, case_s=CASE_S)
