"""Write a trained world as a bundle: the only writer there is.

Everything is written aside, loaded back as a server would load it and compared with the PyTorch
models; only then does it get its name. A world that fails leaves nothing behind.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dreamserve.backends.check import input_shapes
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import MANIFEST_FILE, Arrays, load_bundle, seal, sha256_of
from dreamserve.errors import BundleError
from dreamserve.manifest import DiscreteSpace, Manifest, WorldSpec
from dreamserve_training.export.bank import check_memory
from dreamserve_training.export.card import Picture, render_card
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.formats import OPSET, write_onnx, write_torchscript
from dreamserve_training.export.parity import TOLERANCE, check_parity, same_in_every_batch
from dreamserve_training.export.precision import round_to_half
from dreamserve_training.export.reference import ModelBackend
from dreamserve_training.graphs import DecodeGraph, EncodeGraph, StepGraph
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.models.recurrent import MDNRNN
from dreamserve_training.models.vae import ConvVAE

MAX_BYTES = 12_000_000
CONTROLLER_INPUTS = ("latent", "h")
_EXAMPLE_ROWS = 2  # a traced batch of one would be taken for a broadcast axis
_GRAPH_NAMES = ("encode", "step", "decode")


def export_world(
    out_dir: str | Path,
    *,
    spec: WorldSpec,
    vae: ConvVAE,
    mdnrnn: MDNRNN,
    bank: Arrays,
    origin: Mapping[str, Any],
    quality: Mapping[str, Any],
    controller: LinearPolicy | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> Path:
    """Write the bundle of this world to `out_dir`, whole or not at all, and return its path.

    The weights are rounded to half precision first: `round_to_half` gives the models to measure
    `quality` on. `bank` comes from `make_bank`; `controller` reads CONTROLLER_INPUTS; `origin` and
    `quality` are JSON values, to the latter `parity` is added. A bundle already at `out_dir` is
    replaced; anything else there is left alone.

    Raises ExportError when PyTorch, TorchScript and ONNX answer differently or with numbers that
    are not finite, when h and c are swapped, when the parts do not fit each other or the spec,
    when the files exceed MAX_BYTES, and when `out_dir` holds something that is no bundle.
    """
    out_dir = Path(out_dir)
    _refuse_to_overwrite(out_dir)
    vae, mdnrnn = round_to_half(vae, mdnrnn)
    _check_parts(spec, vae, mdnrnn, bank)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        fields = {
            **spec.model_dump(mode="json"),
            "graphs": _write_graphs(aside, spec, vae, mdnrnn),
            "bank": _write_arrays(aside / "bank.npz", bank) | {"size": len(bank["mu"])},
            "controller": _write_controller(aside / "controller.npz", controller),
            "origin": dict(origin),
            "quality": dict(quality),
        }
        _write_manifest(aside, fields)
        parity = _prove(aside, spec, vae, mdnrnn)
        fields["quality"] = {**quality, "parity": parity}
        manifest = _write_manifest(aside, fields)
        _write_card(aside, manifest, pictures or {})
        _check_size(aside)
        load_bundle(aside)
        aside.chmod(0o755)  # mkdtemp's own is for one user's eyes
        _put_in_place(aside, out_dir)
    except BundleError as error:
        raise ExportError(f"what was written is no bundle to serve: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out_dir


def _refuse_to_overwrite(out_dir: Path) -> None:
    if not out_dir.exists():
        return
    if not out_dir.is_dir() or (any(out_dir.iterdir()) and not (out_dir / MANIFEST_FILE).exists()):
        raise ExportError(f"{out_dir}: exists and is no bundle; it will not be overwritten")


def _check_parts(spec: WorldSpec, vae: ConvVAE, mdnrnn: MDNRNN, bank: Arrays) -> None:
    sizes = {"spec": spec.latent_size, "vae": vae.z_dim, "mdnrnn": mdnrnn.z_dim}
    if len(set(sizes.values())) > 1:
        raise ExportError(f"the parts have different latent sizes: {sizes}")
    if spec.frame.value_range != (0.0, 1.0):
        raise ExportError(f"a ConvVAE sees [0, 1], the spec says {spec.frame.value_range}")
    space = spec.action_space
    actions = space.n if isinstance(space, DiscreteSpace) else len(space.low)
    discrete = isinstance(space, DiscreteSpace)
    if (actions, discrete) != (mdnrnn.action_dim, mdnrnn.discrete_actions):
        raise ExportError(f"the model takes {mdnrnn.action_dim} actions, the spec has {actions}")
    if (spec.reward.kind == "head") != mdnrnn.predict_reward:
        raise ExportError(f"the reward rule is {spec.reward.kind!r}, which the model cannot follow")
    expected = {"mu", "logvar", *(f"state.{tensor.name}" for tensor in spec.recurrent_state)}
    if set(bank) != expected:
        raise ExportError(f"the bank must hold {sorted(expected)}, it holds {sorted(bank)}")
    check_memory(bank)


def _write_graphs(
    folder: Path, spec: WorldSpec, vae: ConvVAE, mdnrnn: MDNRNN
) -> dict[str, dict[str, Any]]:
    step = StepGraph(mdnrnn, spec.temperature_rule, spec.reward.value)
    modules: dict[str, nn.Module] = {
        "encode": EncodeGraph(vae),
        "step": step,
        "decode": DecodeGraph(vae),
    }
    outputs = {"encode": ("mu", "logvar"), "step": spec.step_outputs(), "decode": ("frames",)}
    shapes = input_shapes(spec)
    graphs = {}
    for name in _GRAPH_NAMES:
        inputs = tuple(shapes[name])
        example = tuple(_example(spec, name, shape) for name, shape in shapes[name].items())
        onnx, torchscript = folder / f"{name}.onnx", folder / f"{name}.pt"
        write_onnx(modules[name], example, inputs, outputs[name], onnx)
        write_torchscript(modules[name], example, torchscript)
        graphs[name] = {
            "onnx": _file(onnx),
            "torchscript": _file(torchscript),
            "opset": OPSET,
            "inputs": inputs,
            "outputs": outputs[name],
        }
    return graphs


def _example(spec: WorldSpec, name: str, shape: tuple[int, ...]) -> Tensor:
    if name == "action" and isinstance(spec.action_space, DiscreteSpace):
        return torch.zeros(_EXAMPLE_ROWS, dtype=torch.int64)
    return torch.full((_EXAMPLE_ROWS, *shape), 0.5)


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path)}


def _write_arrays(path: Path, arrays: Arrays) -> dict[str, Any]:
    for name, array in arrays.items():
        if not np.isfinite(array.astype(np.float16)).all():
            raise ExportError(f"{path.name}: {name} holds numbers that are not finite in float16")
    np.savez(path, **{name: array.astype(np.float16) for name, array in arrays.items()})
    return _file(path)


def _write_controller(path: Path, policy: LinearPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    np.savez(path, weights=policy.weights, bias=policy.bias)
    return {**_file(path), "kind": "linear", "inputs": CONTROLLER_INPUTS}


def _write_manifest(folder: Path, fields: dict[str, Any]) -> Manifest:
    manifest = seal(fields)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _prove(folder: Path, spec: WorldSpec, vae: ConvVAE, mdnrnn: MDNRNN) -> dict[str, Any]:
    """Return what is proven of the files in `folder`, read as a server reads them."""
    bundle = load_bundle(folder)
    onnx, torchscript = OnnxBackend.from_bundle(bundle), TorchBackend.from_bundle(bundle)
    reference = ModelBackend(spec, vae, mdnrnn)
    worst = check_parity(spec, reference, {"onnx": onnx, "torchscript": torchscript})
    return {
        "worst_relative_difference": {name: float(f"{x:.2g}") for name, x in worst.items()},
        "tolerance": TOLERANCE,
        "onnx_cpu_same_bits_in_every_batch": same_in_every_batch(spec, onnx),
    }


def _write_card(folder: Path, manifest: Manifest, pictures: Mapping[str, Picture]) -> None:
    for name, picture in pictures.items():
        picture.image.save(folder / f"{name}.png", optimize=True)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / "card.md").write_text(render_card(manifest, pictures, sizes))


def _check_size(folder: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    if (total := sum(sizes.values())) > MAX_BYTES:
        listed = ", ".join(f"{name} {size:,}" for name, size in sorted(sizes.items()))
        raise ExportError(f"{total:,} bytes, a bundle may have {MAX_BYTES:,}: {listed}")


def _put_in_place(aside: Path, out_dir: Path) -> None:
    if not out_dir.exists():
        aside.rename(out_dir)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.old.", dir=out_dir.parent))
    out_dir.rename(old / "bundle")
    try:
        aside.rename(out_dir)
    except OSError:
        (old / "bundle").rename(out_dir)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
