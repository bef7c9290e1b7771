"""A world that keeps the contract, as text of ONNX, so that a test can break one line of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from pydantic import ValidationError

from dreamserve.bundle import content_version, seal, sha256_of

ENCODE = """
encode (float[b,2,2,1] frames) => (float[b,2] mu, float[b,2] logvar)
<float[4,2] see = {10,0, 0,10, 0,0, 0,0}, float half = {0.5}, float narrow = {0.01}>
{
    flat = Flatten(frames)
    centred = Sub(flat, half)
    mu = MatMul(centred, see)
    small = Mul(mu, narrow)
    logvar = Sub(small, half)
}
"""
DECODE = """
decode (float[b,2] latent) => (float[b,2,2,1] frames)
<float[2,4] show = {0.1,0,0,0, 0,0.1,0,0}, float half = {0.5}, float low = {0}, float high = {1},
 int64[4] shape = {-1,2,2,1}>
{
    flat = MatMul(latent, show)
    grey = Add(flat, half)
    pixels = Clip(grey, low, high)
    frames = Reshape(pixels, shape)
}
"""
STEP = """
step (float[b,2] latent, int64[b] action, float[b,3] h, float[b,3] c, float[b] temperature,
      float[b,3] noise)
  => (float[b,2] next_latent, float[b] reward, float[b] done_logit, float[b,3] next_h,
      float[b,3] next_c, float[b,2] mixture_logits, float[b,2,2] mixture_mu,
      float[b,2,2] mixture_log_sigma)
<float[3,3] see = {0.2,0,0.1, 0,0.2,0, 0.3,-0.1,0.2}, float[3,2] choose = {2,0, 0,1, -1,0},
 float[3,4] guess = {0.5,0,-0.5,0, 0,0.5,0,-0.5, 0.2,0,0,0.2}, float[3,4] spread =
 {0.2,0,0,0, 0,0.2,0,0, 0,0,0.2,0.2}, float[3,1] first = {1,0,0}, float[3,1] end = {2,1,1},
 float keep = {0.8}, float tenth = {0.1}, float one = {1}, float least = {0.000001},
 int64[1] axis = {1},
 int64[3] pair = {-1,2,2}, int64[2] cut = {2,1}, int64[1] axis_2 = {2}>
{
    number = Cast<to=1>(action)
    centred = Sub(number, one)
    push = Unsqueeze(centred, axis)
    seen = Concat<axis=1>(latent, push)
    told = MatMul(seen, see)
    said = Mul(h, tenth)
    heard = Add(told, said)
    kept = Mul(c, keep)
    next_c = Add(kept, heard)
    mixed = Add(next_c, heard)
    next_h = Tanh(mixed)
    paid = MatMul(next_h, first)
    reward = Squeeze(paid, axis)
    ended = MatMul(next_c, end)
    ending = Squeeze(ended, axis)
    done_logit = Sub(ending, one)
    mixture_logits = MatMul(next_h, choose)
    guessed = MatMul(next_h, guess)
    mixture_mu = Reshape(guessed, pair)
    spreading = MatMul(next_h, spread)
    narrow = Sub(spreading, one)
    mixture_log_sigma = Reshape(narrow, pair)
    hot = Unsqueeze(temperature, axis)
    above = Max(hot, least)
    logit_0, logit_1 = Split<axis=1,num_outputs=2>(mixture_logits)
    gap = Sub(logit_0, logit_1)
    scaled = Div(gap, above)
    weight = Sigmoid(scaled)
    normals, uniform = Split<axis=1>(noise, cut)
    is_second = Greater(uniform, weight)
    second = Cast<to=1>(is_second)
    share_0 = Sub(one, second)
    share = Concat<axis=1>(share_0, second)
    shares = Unsqueeze(share, axis_2)
    means = Mul(mixture_mu, shares)
    mean = ReduceSum<keepdims=0>(means, axis)
    log_sigmas = Mul(mixture_log_sigma, shares)
    log_sigma = ReduceSum<keepdims=0>(log_sigmas, axis)
    sigma = Exp(log_sigma)
    root = Sqrt(hot)
    width = Mul(sigma, root)
    drawn = Mul(width, normals)
    next_latent = Add(mean, drawn)
}
"""
CONSTANTS = {  # that edits may use
    "int64[1] axis_0": "{0}",
    "int64[2] two": "{0,1}",
    "int64[2] cut_1": "{1,2}",
}
GRAPHS = {"encode": ENCODE, "step": STEP, "decode": DECODE}


def bank() -> dict[str, np.ndarray]:
    """Return moments as the world's own dreams have them."""
    rng = np.random.default_rng(0)
    c = rng.standard_normal((20, 3)).astype(np.float32)
    return {
        "mu": rng.standard_normal((20, 2)).astype(np.float32),
        "logvar": np.full((20, 2), -3, np.float32),
        "state.h": (0.5 * np.tanh(c)).astype(np.float32),
        "state.c": c,
    }


def fields() -> dict[str, Any]:
    """Return the manifest's fields, without files."""
    return {
        "name": "sound",
        "action_space": {"type": "Discrete", "n": 3, "names": ["left", "stay", "right"]},
        "observation": {
            "kind": "frame",
            "source_shape": [2, 2, 1],
            "crop": {"top": 0, "bottom": 2, "left": 0, "right": 2},
            "shape": [2, 2, 1],
        },
        "latent_size": 2,
        "recurrent_state": [{"name": "h", "shape": [3]}, {"name": "c", "shape": [3]}],
        "head": {"kind": "gaussian_mixture", "form": "joint", "components": 2},
        "noise": {"normal": 2, "uniform": 1},
        "temperature_rule": "paper",
        "done": {"rule": "threshold", "threshold": 0.0},
        "reward": {"kind": "head", "value": None},
        "origin": {},
        "quality": {},
    }


@dataclass(frozen=True)
class Sound:
    """The parts of a world that keeps the contract."""

    graphs: Mapping[str, str]  # text of ONNX, by name
    bank: Callable[[], dict[str, np.ndarray]]
    fields: Callable[[], dict[str, Any]]  # the manifest's, without files
    constants: Mapping[str, str]  # that edits may use


MIXTURE = Sound(GRAPHS, bank, fields, CONSTANTS)


def write_world(
    folder: Path,
    edits: Mapping[str, tuple[str, str]] | None = None,
    arrays: Mapping[str, Any] | None = None,
    controller: bool | Mapping[str, Any] = False,
    inputs: Sequence[str] = ("latent",),
    world: Sound = MIXTURE,
    **changed: Any,
) -> Path:
    """Write the world with one text of a graph replaced, other arrays of the bank or other fields.

    `edits` maps a graph to (old, new), where old must occur once. An array that is None is left
    out. `controller` are its arrays, `inputs` what it sees. `ages` says whether the bank has them,
    `graphs` which graphs the manifest does not name.
    """
    folder.mkdir()
    graphs: dict[str, Any] = {}
    for name, text in world.graphs.items():
        old, new = (edits or {}).get(name, ("", ""))
        assert not old or text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new) if old else text
        (folder / f"{name}.onnx").write_bytes(_model(text, world.constants, new))
        graphs[name] = {
            "onnx": _file(folder / f"{name}.onnx"),
            "opset": 18,
            "inputs": _names(world.graphs[name], 0),
            "outputs": _names(world.graphs[name], 1),
        }
    stored = {k: v for k, v in (world.bank() | dict(arrays or {})).items() if v is not None}
    np.savez(folder / "bank.npz", **stored)
    size = {"size": len(next(iter(stored.values()))), "ages": changed.pop("ages", False)}
    if controller:  # by default, its weights are transposed
        wrong = {"weights": np.zeros((2, 3)), "bias": np.zeros(3)}
        np.savez(folder / "policy.npz", **(wrong if controller is True else controller))
        changed["controller"] = _file(folder / "policy.npz") | {"inputs": list(inputs)}
    manifest = world.fields() | {"graphs": graphs, "bank": _file(folder / "bank.npz") | size}
    manifest |= {key: value for key, value in changed.items() if key != "graphs"}
    manifest["graphs"] = {k: v for k, v in graphs.items() if k not in changed.get("graphs", ())}
    try:
        sealed = seal(manifest).model_dump(mode="json")
    except ValidationError:  # loading must tell what is wrong with it
        sealed = manifest | {"version": content_version(manifest)}
    (folder / "manifest.json").write_text(json.dumps(sealed))
    return folder


def _model(text: str, constants: Mapping[str, str], new: str) -> bytes:
    """Return the model of a graph's text, with the constants that occur in its new part."""
    used = [f"{kind} = {value}, " for kind, value in constants.items() if kind.split()[1] in new]
    text = text.replace("\n<", f"\n<{''.join(used)}", 1)
    header = '<ir_version: 9, opset_import: ["" : 18]>'
    content: bytes = onnx.parser.parse_model(header + text).SerializeToString()
    return content


def _names(text: str, part: int) -> list[str]:
    header = onnx.parser.parse_graph(text)
    return [info.name for info in (header.input, header.output)[part]]


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path)}
