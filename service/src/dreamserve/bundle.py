"""A world bundle, loaded completely or refused with a one-line error.

`dreamserve.manifest` lists the files. Loading reads every file that the manifest names, compares
its sha256, and checks every array's name, shape and numbers and what each ONNX graph holds. It runs
nothing, unpickles nothing and bounds what it reads: a bundle may come from anybody. The export in
training is the only writer; it shares the rules in this module.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dreamserve.archives import AGE, Array, Shape, read_arrays
from dreamserve.errors import BundleError, Problems
from dreamserve.folder import Folder
from dreamserve.graph_rules import check_graph
from dreamserve.manifest import Manifest, WorldSpec
from dreamserve.manifest_parts import ControllerSpec, FileSpec, Format, GraphName
from dreamserve.strict_json import parse
from dreamserve.trust import UNTRUSTED, Trust

Arrays = dict[str, Array]
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
_NUMBERS_AT_ONCE = 2**18
_LISTED = 5  # bundles that an error lists


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle whose files have all been checked. Arrays are float32, whatever dtype is stored."""

    path: Path
    manifest: Manifest
    bank: Arrays  # the head's posterior (N, …), state.NAME (N, *shape)
    controller: Arrays | None  # weights (actions, features), bias (actions,)
    trust: Trust = UNTRUSTED
    ages: npt.NDArray[np.int64] | None = None  # (N,) of the bank's entries, in steps

    def graph_bytes(self, name: GraphName, file_format: Format) -> bytes:
        """Read a graph's bytes, and check their hash again: these bytes are the ones checked.

        Raises BundleError.
        """
        spec = getattr(self.manifest.graphs.by_name()[name], file_format)
        if spec is None:
            raise BundleError(
                f"{self.path}: has no TorchScript of {name}, which the torch backends run; use an"
                " onnx backend, or export the world with it"
            )
        return _read(Folder(self.path, self.trust.max_bundle_bytes), spec)


def load_bundle(path: str | Path, trust: Trust = UNTRUSTED) -> Bundle:
    """Return the bundle in the folder `path`. Raises BundleError, whose one line names the file.

    Nothing of the bundle runs, and no more than `trust.max_bundle_bytes` of it is read. The error
    has the problems of all files.
    """
    folder = Folder(Path(path), trust.max_bundle_bytes)
    manifest, problems = _read_manifest(folder), Problems()
    for graph in manifest.graphs.by_name().values():
        with problems.collected():
            check_graph(_read(folder, graph.onnx), str(folder.path / graph.onnx.file))
        if graph.torchscript is not None:
            with problems.collected():
                _read(folder, graph.torchscript)
    bank: Arrays = {}
    ages: npt.NDArray[np.int64] | None = None
    with problems.collected():
        bank, ages = _read_bank(folder, manifest)
    controller = None
    if manifest.controller is not None:
        where = str(folder.path / manifest.controller.file)
        with problems.collected():
            shapes = controller_shapes(manifest, manifest.controller, where)
            controller = _read_arrays(folder, manifest.controller, shapes)
    problems.raise_if_any()
    return Bundle(folder.path, manifest, bank, controller, trust, ages)


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_version(fields: Mapping[str, Any]) -> str:
    """Return the version of a manifest with these fields: 16 hex digits.

    It is the start of the sha256 of the manifest's JSON in UTF-8, without `version`, with sorted
    keys and no spaces. The files' hashes are among the fields, so it covers their content too.
    `fields` are those in the file, including defaults: use `seal` to create a manifest.
    """
    content = {name: value for name, value in fields.items() if name != "version"}
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def seal(fields: Mapping[str, Any]) -> Manifest:
    """Return the validated manifest with these fields, defaults, and its version.

    Write it as `manifest.model_dump_json()`. Raises pydantic's ValidationError.
    """
    draft = Manifest.model_validate({**fields, "version": "0" * 16})
    return draft.model_copy(update={"version": content_version(draft.model_dump(mode="json"))})


def bank_shapes(spec: WorldSpec, size: int) -> dict[str, Shape]:
    """Return the shapes of the arrays of a bank of `size` moments, by name, without `age`."""
    shapes = {name: (size, *shape) for name, shape in spec.head.posterior(spec.latent_size).items()}
    for tensor in spec.recurrent_state:
        shapes[f"state.{tensor.name}"] = (size, *tensor.shape)
    return shapes


def controller_shapes(spec: WorldSpec, controller: ControllerSpec, where: str) -> dict[str, Shape]:
    """Return the shapes of a linear policy's arrays, by name. Raises BundleError."""
    sizes = spec.tensor_sizes()
    if unknown := set(controller.inputs) - set(sizes):
        raise BundleError(f"{where}: the world has no {sorted(unknown)}, only {sorted(sizes)}")
    actions = spec.action_space.width
    features = sum(sizes[name] for name in controller.inputs)
    return {"weights": (actions, features), "bias": (actions,)}


def check_arrays(arrays: Arrays, expected: Mapping[str, Shape], where: str) -> None:
    """Raise BundleError unless the arrays have the expected names and shapes, and are finite."""
    if set(arrays) != set(expected):
        raise BundleError(f"{where}: must hold {sorted(expected)}, holds {sorted(arrays)}")
    problems = Problems()
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            problems.add(f"{where}: {name} must be {shape}, is {array.shape}")
        elif not _is_finite(array):
            problems.add(f"{where}: {name} holds NaN or infinity")
    problems.raise_if_any()


def check_draws(spec: WorldSpec, bank: Arrays, where: str) -> None:
    """Raise BundleError if a draw from a moment of a bank of finite numbers may be beyond float32.

    A dream would begin at infinity.
    """
    posterior = {name: bank[name] for name in spec.head.posterior(spec.latent_size)}
    if (row := spec.head.overflows(tuple(posterior.values()))) is not None:
        largest = [f"{name} up to {part[row].max():g}" for name, part in posterior.items()]
        raise BundleError(
            f"{where}: a draw from moment {row} may be beyond float32: it has {', '.join(largest)};"
            " latents should be of order 1"
        )


def _is_finite(array: Array) -> bool:
    numbers = array.reshape(-1)  # in slices: the masks of a large array would take a quarter of it
    slices = range(0, numbers.size, _NUMBERS_AT_ONCE)
    return all(np.isfinite(numbers[first : first + _NUMBERS_AT_ONCE]).all() for first in slices)


def _read_manifest(folder: Folder) -> Manifest:
    path = folder.path / MANIFEST_FILE
    try:
        content = folder.read(MANIFEST_FILE, MAX_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{folder.path}: {_why_no_bundle(folder.path)}") from None
    try:
        fields = parse(content)
        manifest = Manifest.model_validate_json(json.dumps(fields))
        version = content_version(fields)
    except ValidationError as error:
        raise BundleError(*(f"{path}: {_told(one)}" for one in error.errors())) from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None
    if version != manifest.version:
        raise BundleError(
            f"{path}: declares version {manifest.version}, but its content has {version}"
        )
    return manifest


def _told(problem: ErrorDetails) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "the manifest"
    return f"{field}: {problem['msg']}"


def _why_no_bundle(folder: Path) -> str:
    wanted = f"a bundle is a folder with {MANIFEST_FILE}"
    if not folder.exists():
        return f"no such folder; {wanted}"
    if not folder.is_dir():
        return f"is a file; {wanted}"
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST_FILE}"))
    more = ", …" if len(found) > _LISTED else ""
    inside = ", ".join(map(str, found[:_LISTED]))
    return f"has no {MANIFEST_FILE}; {f'bundles in it: {inside}{more}' if inside else wanted}"


def _read(folder: Folder, spec: FileSpec) -> bytes:
    path = folder.path / spec.file
    try:
        content = folder.read(spec.file)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if (digest := hashlib.sha256(content).hexdigest()) != spec.sha256:
        raise BundleError(
            f"{path}: {len(content)} bytes with sha256 {digest[:16]}…,"
            f" the manifest says {spec.sha256[:16]}…: damaged, or of another world; copy it again"
        )
    return content


def _read_arrays(folder: Folder, spec: FileSpec, expected: Mapping[str, Shape]) -> Arrays:
    where = str(folder.path / spec.file)
    arrays = read_arrays(_read(folder, spec), expected, folder.max_bytes, where)
    check_arrays(arrays, expected, where)
    return arrays


def _read_bank(folder: Folder, manifest: Manifest) -> tuple[Arrays, npt.NDArray[np.int64] | None]:
    """Return the bank's arrays, and its ages (N,) if it has them."""
    size, where = manifest.bank.size, str(folder.path / manifest.bank.file)
    shapes = bank_shapes(manifest, size)
    if manifest.bank.ages:
        shapes[AGE] = (size,)
    bank = _read_arrays(folder, manifest.bank, shapes)
    check_draws(manifest, bank, where)
    if not manifest.bank.ages:
        return bank, None
    ages = bank.pop(AGE).astype(np.int64)
    if ages.min() < 0:
        raise BundleError(f"{where}: age holds {ages.min()}; steps since a beginning are 0 or more")
    return bank, ages
