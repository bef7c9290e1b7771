"""A world bundle, loaded completely or refused with a one-line error.

`dreamserve.manifest` lists the files. Loading reads every file that the manifest names, compares
its sha256, and checks every array's name, shape and numbers; nothing is unpickled. The export in
training is the only writer; it shares the rules in this module.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from dreamserve.errors import BundleError
from dreamserve.manifest import ControllerSpec, FileSpec, Format, GraphName, Manifest, WorldSpec

Array = npt.NDArray[np.float32]
Arrays = dict[str, Array]
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle whose files have all been checked. Arrays are float32, whatever dtype is stored."""

    path: Path
    manifest: Manifest
    bank: Arrays  # mu (N, Z), logvar (N, Z), state.NAME (N, *shape)
    controller: Arrays | None  # weights (actions, features), bias (actions,)

    def graph_bytes(self, name: GraphName, file_format: Format) -> bytes:
        """Read a graph's bytes, and check them again. Raises BundleError."""
        graph = getattr(self.manifest.graphs, name)
        return _read(self.path, getattr(graph, file_format))


def load_bundle(path: str | Path) -> Bundle:
    """Return the bundle in the folder `path`. Raises BundleError, whose one line names the file."""
    folder = Path(path)
    manifest = _read_manifest(folder)
    for name in ("encode", "step", "decode"):
        graph = getattr(manifest.graphs, name)
        _read(folder, graph.onnx)
        _read(folder, graph.torchscript)
    bank = _read_arrays(folder, manifest.bank)
    check_bank(manifest, bank, manifest.bank.size, where=str(folder / manifest.bank.file))
    controller = None
    if manifest.controller is not None:
        controller = _read_arrays(folder, manifest.controller)
        where = str(folder / manifest.controller.file)
        check_controller(manifest, manifest.controller, controller, where)
    return Bundle(folder, manifest, bank, controller)


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


def check_bank(spec: WorldSpec, bank: Arrays, size: int, where: str) -> None:
    """Raise BundleError unless `bank` holds `size` starting points that fit `spec`."""
    expected: dict[str, tuple[int, ...]] = {
        "mu": (size, spec.latent_size),
        "logvar": (size, spec.latent_size),
    }
    for tensor in spec.recurrent_state:
        expected[f"state.{tensor.name}"] = (size, *tensor.shape)
    _check_arrays(bank, expected, where)


def check_controller(
    spec: WorldSpec, controller: ControllerSpec, arrays: Arrays, where: str
) -> None:
    """Raise BundleError unless `arrays` are a linear policy that fits `spec`."""
    sizes = spec.tensor_sizes()
    if unknown := set(controller.inputs) - set(sizes):
        raise BundleError(f"{where}: the world has no {sorted(unknown)}, only {sorted(sizes)}")
    actions = spec.action_space.width
    features = sum(sizes[name] for name in controller.inputs)
    _check_arrays(arrays, {"weights": (actions, features), "bias": (actions,)}, where)


def _check_arrays(arrays: Arrays, expected: dict[str, tuple[int, ...]], where: str) -> None:
    if set(arrays) != set(expected):
        raise BundleError(f"{where}: must hold {sorted(expected)}, holds {sorted(arrays)}")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise BundleError(f"{where}: {name} must be {shape}, is {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{where}: {name} holds NaN or infinity")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        fields = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{folder}: {_why_no_bundle(folder)}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BundleError(f"{path}: must be a JSON object, is {type(fields).__name__}")
    try:
        manifest = Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "the manifest"
        raise BundleError(f"{path}: {field}: {problem['msg']}") from error
    if (version := content_version(fields)) != manifest.version:
        raise BundleError(
            f"{path}: declares version {manifest.version}, but its content has {version}"
        )
    return manifest


def _why_no_bundle(folder: Path) -> str:
    wanted = f"a bundle is a folder with {MANIFEST_FILE}"
    if not folder.exists():
        return f"no such folder; {wanted}"
    if not folder.is_dir():
        return f"is a file; {wanted}"
    inside = ", ".join(str(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST_FILE}")))
    return f"has no {MANIFEST_FILE}; {f'bundles in it: {inside}' if inside else wanted}"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _read(folder: Path, spec: FileSpec) -> bytes:
    path = folder / spec.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if (digest := hashlib.sha256(content).hexdigest()) != spec.sha256:
        raise BundleError(
            f"{path}: {len(content)} bytes with sha256 {digest[:16]}…,"
            f" the manifest says {spec.sha256[:16]}…: damaged, or of another world; copy it again"
        )
    return content


def _read_arrays(folder: Path, spec: FileSpec) -> Arrays:
    content = _read(folder, spec)
    try:
        stored = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except Exception as error:  # zip, zlib and numpy raise many types for invalid archives
        raise BundleError(f"{folder / spec.file}: is not a plain .npz file: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise BundleError(f"{folder / spec.file}: {name} is {array.dtype}, must be floats")
    return {name: array.astype(np.float32) for name, array in arrays.items()}
