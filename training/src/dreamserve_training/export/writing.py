"""Write a world as a bundle. No other module writes bundles.

The files are written to a temporary folder, loaded as a server loads them, and compared with the
reference. The folder is renamed only if all of that succeeds; otherwise it is removed.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dreamserve.archives import AGE
from dreamserve.backends.base import Backend, State
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import MANIFEST_FILE, Arrays, load_bundle, seal, sha256_of
from dreamserve.errors import BundleError
from dreamserve.manifest import Manifest, WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve_training.export.card import Picture, render_card
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.formats import OPSET, write_onnx, write_torchscript
from dreamserve_training.export.given import check_bank, check_modules
from dreamserve_training.export.parity import (
    TOLERANCE,
    check_parity,
    dreamt_states,
    same_in_every_batch,
)
from dreamserve_training.files import naming, write_arrays
from dreamserve_training.models.controller import LinearPolicy

logger = logging.getLogger("dreamserve_training")

MAX_BYTES = 12_000_000
_EXAMPLE_ROWS = 2  # tracing a batch of one would specialise its axis


@dataclass(frozen=True, eq=False)
class WorldGraphs:
    """The pure functions of a world, as `dreamserve.manifest` describes them.

    They are modules in evaluation mode with weights rounded to float16 (see `half_precision`).
    Each takes its inputs in the manifest's order and returns a tensor or a tuple. `decode` and
    `policy` are there where the spec says so.
    """

    encode: nn.Module
    step: nn.Module
    decode: nn.Module | None = None
    policy: nn.Module | None = None

    def by_name(self) -> dict[GraphName, nn.Module]:
        """Return the graphs that there are, by name."""
        named: dict[GraphName, nn.Module | None] = {
            "encode": self.encode,
            "step": self.step,
            "decode": self.decode,
            "policy": self.policy,
        }
        return {name: module for name, module in named.items() if module is not None}


def write_bundle(
    out_dir: str | Path,
    *,
    spec: WorldSpec,
    graphs: WorldGraphs,
    bank: Arrays,
    origin: Mapping[str, Any],
    quality: Mapping[str, Any],
    reference: Backend | None = None,
    controller: LinearPolicy | None = None,
    pictures: Mapping[str, Picture] | None = None,
    torchscript: bool = True,
    max_bytes: int = MAX_BYTES,
    draft: Path | None = None,
) -> Path:
    """Write the bundle of any world to `out_dir`, atomically, and return its path.

    The files' outputs are compared with those of `reference`: the trained models, run by other code
    than `graphs`, or by default `graphs`. `bank` is described in `dreamserve.bundle`; `controller`
    is a linear policy; `origin` and `quality` are JSON values, and `parity` is added to
    `quality`. The torch backends need `torchscript`. An existing bundle at `out_dir` is replaced.
    `draft` is an earlier bundle of the same world: the graphs that it has are copied, as tracing
    takes seconds each, and compared with `reference` like any other.

    Raises ExportError if outputs differ by more than the tolerance or are not finite, if recurrent
    tensors are swapped, if the parts do not fit the spec, if the files exceed `max_bytes`, and if
    `out_dir` exists and is not a bundle.
    """
    out_dir = Path(out_dir)
    refuse_to_overwrite(out_dir)
    check_bank(spec, bank)
    check_modules(spec, graphs.by_name(), bank)
    if reference is None:
        reference = TorchBackend(spec, graphs.by_name())
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        with naming(out_dir):
            fields = {
                **spec.model_dump(mode="json"),
                "graphs": _write_graphs(staging, spec, graphs, torchscript, draft),
                "bank": _write_arrays(staging / "bank.npz", bank),
                "controller": _write_controller(staging / "controller.npz", controller),
                "origin": dict(origin),
                "quality": dict(quality),
            }
            _write_manifest(staging, fields)
            states = dreamt_states(spec, reference, bank)
            parity = _measure_parity(staging, spec, reference, states)
            fields["quality"] = {**quality, "parity": parity}
            manifest = _write_manifest(staging, fields)
            _write_card(staging, manifest, pictures or {})
            _check_size(staging, max_bytes)
            load_bundle(staging)
            staging.chmod(0o755)  # mkdtemp's mode is 0o700
            _put_in_place(staging, out_dir)
    except BundleError as error:
        told = str(error).replace(staging.name, out_dir.name)  # that folder is gone by then
        raise ExportError(f"the written bundle cannot be loaded: {told}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out_dir


def refuse_to_overwrite(out_dir: Path) -> None:
    """Raise ExportError for a file, and for a folder that holds something else than a bundle."""
    if not out_dir.exists():
        return
    if not out_dir.is_dir() or (any(out_dir.iterdir()) and not (out_dir / MANIFEST_FILE).exists()):
        raise ExportError(f"{out_dir}: exists, is not a bundle and will not be overwritten")


def _write_graphs(
    folder: Path, spec: WorldSpec, graphs: WorldGraphs, torchscript: bool, draft: Path | None
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, module in graphs.by_name().items():
        shapes, outputs = spec.graph_inputs()[name], tuple(spec.graph_outputs()[name])
        example = tuple(_example(spec, tensor, shape) for tensor, shape in shapes.items())
        onnx, script = folder / f"{name}.onnx", folder / f"{name}.pt"
        if not _is_copied(draft, onnx):
            write_onnx(module, example, tuple(shapes), outputs, onnx)
        if torchscript and not _is_copied(draft, script):
            write_torchscript(module, example, script)
        written[name] = {
            "onnx": _file(onnx),
            "torchscript": _file(script) if torchscript else None,
            "opset": OPSET,
            "inputs": tuple(shapes),
            "outputs": outputs,
        }
    return written


def _is_copied(draft: Path | None, file: Path) -> bool:
    """Copy the draft's file of this name; return whether there is one."""
    if draft is None or not (drafted := draft / file.name).exists():
        return False
    shutil.copyfile(drafted, file)
    return True


def _example(spec: WorldSpec, name: str, shape: tuple[int, ...]) -> Tensor:
    if name == "action":
        return torch.from_numpy(spec.action_space.zeros(_EXAMPLE_ROWS))
    return torch.full((_EXAMPLE_ROWS, *shape), 0.5)


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path)}


def _write_arrays(path: Path, arrays: Arrays) -> dict[str, Any]:
    for name, array in arrays.items():
        if name != AGE and not np.isfinite(array.astype(np.float16)).all():
            raise ExportError(f"{path.name}: {name} holds numbers that are not finite in float16")
    stored = {
        name: array.astype(np.int64 if name == AGE else np.float16)
        for name, array in arrays.items()
    }
    write_arrays(path, stored)
    size = len(next(iter(arrays.values())))
    return {**_file(path), "size": size, "ages": AGE in arrays}


def _write_controller(path: Path, policy: LinearPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    np.savez(path, weights=policy.weights, bias=policy.bias)
    return {**_file(path), "kind": "linear", "inputs": policy.inputs}


def _write_manifest(folder: Path, fields: dict[str, Any]) -> Manifest:
    manifest = seal(fields)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _measure_parity(
    folder: Path, spec: WorldSpec, reference: Backend, states: State
) -> dict[str, Any]:
    """Return the parity of the files in `folder`, loaded as a server loads them."""
    bundle = load_bundle(folder)
    others: dict[str, Backend] = {"onnx": (onnx := OnnxBackend.from_bundle(bundle))}
    if bundle.manifest.graphs.step.torchscript is not None:
        others["torchscript"] = TorchBackend.from_bundle(bundle)
    worst = check_parity(spec, reference, others, states=states)
    if not (is_same := same_in_every_batch(spec, onnx, states=states)):
        logger.warning(
            "%s: on the CPU a row's last bits depend on its batch, so dreams are not the same in"
            " all company; *Independent rows* in docs/bundle.md says which operators do that",
            spec.name,
        )
    return {
        "worst_relative_difference": {name: float(f"{x:.2g}") for name, x in worst.items()},
        "tolerance": TOLERANCE,
        "onnx_cpu_same_bits_in_every_batch": is_same,
    }


def _write_card(folder: Path, manifest: Manifest, pictures: Mapping[str, Picture]) -> None:
    for name, picture in pictures.items():
        picture.image.save(folder / f"{name}.png", optimize=True)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / "card.md").write_text(render_card(manifest, pictures, sizes))


def _check_size(folder: Path, max_bytes: int) -> None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    if (total := sum(sizes.values())) > max_bytes:
        listed = ", ".join(f"{name} {size:,}" for name, size in sorted(sizes.items()))
        raise ExportError(
            f"{total:,} bytes; a bundle may have at most {max_bytes:,} (max_bytes): {listed}"
        )


def _put_in_place(staging: Path, out_dir: Path) -> None:
    if not out_dir.exists():
        staging.rename(out_dir)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.old.", dir=out_dir.parent))
    out_dir.rename(old / "bundle")
    try:
        staging.rename(out_dir)
    except OSError:
        (old / "bundle").rename(out_dir)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
