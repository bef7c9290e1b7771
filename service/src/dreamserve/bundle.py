"""A world bundle, loaded completely or refused with a one-line error.

`dreamserve.manifest` lists the files. Loading reads every file that the manifest names, compares
its sha256, and checks every array's name, shape and numbers and what each ONNX graph holds. It runs
nothing, unpickles nothing and bounds what it reads: a bundle may come from anybody. The export in
training is the only writer; it shares the rules in this module.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dreamserve.archives import Array, Shape, read_arrays
from dreamserve.errors import BundleError
from dreamserve.folder import Folder
from dreamserve.graph_rules import check_graph
from dreamserve.manifest import Manifest, WorldSpec
from dreamserve.manifest_file import read_manifest
from dreamserve.manifest_parts import ControllerSpec, FileSpec, Format, GraphName
from dreamserve.trust import UNTRUSTED, Trust

Arrays = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle whose files have all been checked. Arrays are float32, whatever dtype is stored."""

    path: Path
    manifest: Manifest
    bank: Arrays  # mu (N, Z), logvar (N, Z), state.NAME (N, *shape)
    controller: Arrays | None  # weights (actions, features), bias (actions,)
    trust: Trust = UNTRUSTED

    def graph_bytes(self, name: GraphName, file_format: Format) -> bytes:
        """Read a graph's bytes, and check their hash again: these bytes are the ones checked.

        Raises BundleError.
        """
        graph = getattr(self.manifest.graphs, name)
        return _read(Folder(self.path, self.trust.max_bundle_bytes), getattr(graph, file_format))


def load_bundle(path: str | Path, trust: Trust = UNTRUSTED) -> Bundle:
    """Return the bundle in the folder `path`. Raises BundleError, whose one line names the file.

    Nothing of the bundle runs, and no more than `trust.max_bundle_bytes` of it is read.
    """
    folder = Folder(Path(path), trust.max_bundle_bytes)
    manifest = read_manifest(folder)
    for name in ("encode", "step", "decode"):
        graph = getattr(manifest.graphs, name)
        check_graph(_read(folder, graph.onnx), str(folder.path / graph.onnx.file))
        _read(folder, graph.torchscript)
    bank = _read_arrays(folder, manifest.bank, bank_shapes(manifest, manifest.bank.size))
    controller = None
    if manifest.controller is not None:
        where = str(folder.path / manifest.controller.file)
        shapes = controller_shapes(manifest, manifest.controller, where)
        controller = _read_arrays(folder, manifest.controller, shapes)
    return Bundle(folder.path, manifest, bank, controller, trust)


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bank_shapes(spec: WorldSpec, size: int) -> dict[str, Shape]:
    """Return the shapes of the arrays of a bank of `size` starting points, by name."""
    shapes: dict[str, Shape] = {
        "mu": (size, spec.latent_size),
        "logvar": (size, spec.latent_size),
    }
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
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise BundleError(f"{where}: {name} must be {shape}, is {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{where}: {name} holds NaN or infinity")


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
