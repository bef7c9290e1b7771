"""Worlds for the service's tests: the fake one, and a tiny real bundle in both formats."""

import io
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dreamserve import noise
from dreamserve.backends.base import Actions
from dreamserve.backends.fake import SPACES
from dreamserve.bundle import seal, sha256_of
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.imagination.evaluator import CandidateEvaluator
from dreamserve.engine.imagination.trajectories import RolloutStart, StepOutcome, Trajectories
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.trust import Trust
from dreamserve.validation import validated
from dreamserve_protocol.markers import Request

TAKECOVER = Path(__file__).parents[2] / "bundles" / "takecover"
Z, R, K, ACTIONS, SIDE = 4, 16, 2, 3, 4
PIXELS = SIDE * SIDE * 3
TRUSTED = Trust(trust_torchscript=True)
STEP_INPUTS = ("latent", "action", "h", "c", "temperature", "noise")
STEP_OUTPUTS = (
    *("next_latent", "reward", "done_logit", "next_h", "next_c"),
    *("mixture_logits", "mixture_mu", "mixture_log_sigma"),
)
SIGNATURES = {
    "encode": (("frames",), ("mu", "logvar")),
    "step": (STEP_INPUTS, STEP_OUTPUTS),
    "decode": (("latent",), ("frames",)),
}
HEAD = (K, K * Z, K * Z, 1, 1)  # logits, mu, log sigma, reward, done


def tiny_weights() -> dict[str, np.ndarray]:
    """Return the tiny world's weights: float32 numbers that float16 represents exactly."""
    generator = np.random.default_rng(7)
    shapes = {
        "see": (PIXELS, 2 * Z),
        "remember": (Z + ACTIONS + R, R),
        "speak": (R, sum(HEAD)),
        "show": (Z, PIXELS),
    }
    weights = {
        name: (generator.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float16)
        for name, shape in shapes.items()
    }
    weights["speak"][:, -1] *= 0.1
    return {name: weight.astype(np.float32) for name, weight in weights.items()}


class TinyGraphs(nn.Module):
    """The tiny world in torch; `graph` selects one of its three functions."""

    def __init__(self, graph: str) -> None:
        super().__init__()
        self.graph = graph
        for name, weight in tiny_weights().items():
            self.register_buffer(name, torch.from_numpy(weight))
        self.register_buffer("range", torch.arange(ACTIONS))

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self, f"_{self.graph}")(*inputs)

    def _encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return tuple((frames.flatten(1) @ self.see).split(Z, dim=1))

    def _decode(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(latent @ self.show).reshape(-1, SIDE, SIDE, 3)

    def _step(self, latent, action, h, c, temperature, noise):
        taken = (action.unsqueeze(1) == self.range).type_as(latent)
        h = torch.tanh(torch.cat([latent, taken, h], dim=1) @ self.remember)
        c = c * 0.5 + h
        logits, mu, log_sigma, reward, done = (h @ self.speak).split(HEAD, dim=1)
        mu, log_sigma = mu.reshape(-1, K, Z), log_sigma.reshape(-1, K, Z)
        hot = temperature.unsqueeze(1)
        first = torch.sigmoid((logits[:, :1] - logits[:, 1:]) / hot.clamp(min=1e-6))
        pick = (noise[:, Z:] > first).type_as(latent)
        mean = mu[:, 0] * (1 - pick) + mu[:, 1] * pick
        sigma = torch.exp(log_sigma[:, 0] * (1 - pick) + log_sigma[:, 1] * pick)
        drawn = mean + sigma * torch.sqrt(hot) * noise[:, :Z]
        return drawn, reward.squeeze(1), done.squeeze(1) - 1, h, c, logits, mu, log_sigma


def tiny_examples(rows: int = 2) -> dict[str, tuple[Tensor, ...]]:
    """Return inputs of every graph."""
    generator = torch.Generator().manual_seed(0)
    step = (
        torch.randn(rows, Z, generator=generator),
        torch.arange(rows) % ACTIONS,
        torch.randn(rows, R, generator=generator),
        torch.randn(rows, R, generator=generator),
        torch.ones(rows),
        torch.rand(rows, Z + 1, generator=generator),
    )
    frames = torch.rand(rows, SIDE, SIDE, 3, generator=generator)
    return {"encode": (frames,), "step": step, "decode": (step[0],)}


def torchscript_bytes(graph: str) -> bytes:
    """Return one graph traced, its weights in half precision."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*", DeprecationWarning)
        traced = torch.jit.trace(TinyGraphs(graph), tiny_examples()[graph])
        torch.jit.save(traced.half(), buffer)
    return buffer.getvalue()


def onnx_bytes(graph: str) -> bytes:
    """Return one graph as ONNX, its weights in half precision behind Casts."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(name: str) -> str:
        half = constant(f"{name}_half", tiny_weights()[name].astype(np.float16))
        return op("Cast", half, to=TensorProto.FLOAT, out=name)

    def op(kind: str, *inputs: str, out: str | tuple[str, ...] = "", **attributes: Any) -> str:
        outs = (out or f"{kind}_{len(nodes)}",) if isinstance(out, str) else out
        nodes.append(helper.make_node(kind, inputs, outs, **attributes))
        return outs[0]

    {"encode": _encode_nodes, "step": _step_nodes, "decode": _decode_nodes}[graph](
        op, constant, weight
    )
    shapes: dict[str, list[Any]] = {
        "frames": ["b", SIDE, SIDE, 3],
        "mu": ["b", Z],
        "logvar": ["b", Z],
        "latent": ["b", Z],
        "action": ["b"],
        "h": ["b", R],
        "c": ["b", R],
        "temperature": ["b"],
        "noise": ["b", Z + 1],
        "next_latent": ["b", Z],
        "reward": ["b"],
        "done_logit": ["b"],
        "next_h": ["b", R],
        "next_c": ["b", R],
        "mixture_logits": ["b", K],
        "mixture_mu": ["b", K, Z],
        "mixture_log_sigma": ["b", K, Z],
    }

    def infos(names: tuple[str, ...]) -> list[onnx.ValueInfoProto]:
        kinds = {"action": TensorProto.INT64}
        return [
            helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), shapes[n])
            for n in names
        ]

    inputs, outputs = SIGNATURES[graph]
    made = helper.make_graph(nodes, graph, infos(inputs), infos(outputs), constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


Op = Callable[..., str]


def _encode_nodes(op: Op, constant: Op, weight: Op) -> None:
    seen = op("MatMul", op("Flatten", "frames"), weight("see"))
    op("Split", seen, out=("mu", "logvar"), axis=1, num_outputs=2)


def _decode_nodes(op: Op, constant: Op, weight: Op) -> None:
    shown = op("Sigmoid", op("MatMul", "latent", weight("show")))
    op("Reshape", shown, constant("shape", np.array([-1, SIDE, SIDE, 3])), out="frames")


def _step_nodes(op: Op, constant: Op, weight: Op) -> None:
    column = constant("column", np.array([1]))
    is_taken = op("Equal", op("Unsqueeze", "action", column), constant("r", np.arange(ACTIONS)))
    taken = op("Cast", is_taken, to=TensorProto.FLOAT)
    seen = op("Concat", "latent", taken, "h", axis=1)
    h = op("Tanh", op("MatMul", seen, weight("remember")), out="next_h")
    op("Add", op("Mul", "c", constant("half", np.float32(0.5))), h, out="next_c")
    parts = ("mixture_logits", "flat_mu", "flat_log_sigma", "reward_column", "done_column")
    spoken = op("MatMul", h, weight("speak"))
    op("Split", spoken, constant("sizes", np.array(HEAD)), out=parts, axis=1)
    one = constant("one", np.float32(1))
    op("Squeeze", "reward_column", column, out="reward")
    op("Sub", op("Squeeze", "done_column", column), one, out="done_logit")
    matrix = constant("matrix", np.array([-1, K, Z]))
    op("Reshape", "flat_mu", matrix, out="mixture_mu")
    op("Reshape", "flat_log_sigma", matrix, out="mixture_log_sigma")
    hot = op("Unsqueeze", "temperature", column)
    ends = [constant(f"end_{i}", np.array([i])) for i in (0, 1, 2, Z, Z + 1)]

    def cut(name: str, start: int, stop: int) -> str:
        return op("Slice", name, ends[start], ends[stop], column)

    gap = op("Sub", cut("mixture_logits", 0, 1), cut("mixture_logits", 1, 2))
    least = constant("least", np.float32(1e-6))
    first = op("Sigmoid", op("Div", gap, op("Max", hot, least)))
    pick = op("Cast", op("Greater", cut("noise", 3, 4), first), to=TensorProto.FLOAT)
    other = op("Sub", one, pick)

    def picked(name: str) -> str:
        rows = [op("Squeeze", cut(name, i, i + 1), column) for i in (0, 1)]
        return op("Add", op("Mul", rows[0], other), op("Mul", rows[1], pick))

    spread = op("Mul", op("Exp", picked("mixture_log_sigma")), op("Sqrt", hot))
    drawn = op("Mul", spread, cut("noise", 0, 3))
    op("Add", picked("mixture_mu"), drawn, out="next_latent")


@pytest.fixture(scope="session")
def tiny_parts() -> dict[str, bytes]:
    """Return the files of the tiny bundle except its manifest."""
    parts = {f"{name}.onnx": onnx_bytes(name) for name in SIGNATURES}
    parts |= {f"{name}.pt": torchscript_bytes(name) for name in SIGNATURES}
    generator = np.random.default_rng(3)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        mu=generator.standard_normal((5, Z)).astype(np.float16),
        logvar=np.full((5, Z), -2, np.float16),
        **{f"state.{name}": generator.standard_normal((5, R)).astype(np.float16) for name in "hc"},
    )
    parts["bank.npz"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.ones((ACTIONS, Z + R), np.float32), bias=np.zeros(3, np.float32))
    parts["controller.npz"] = buffer.getvalue()
    return parts


def tiny_fields(folder: Path) -> dict[str, Any]:
    """Return the manifest's fields for the files in `folder`."""

    def file(name: str) -> dict[str, Any]:
        return {"file": name, "sha256": sha256_of(folder / name)}

    return {
        "name": "tiny",
        "action_space": {"type": "Discrete", "n": 3, "names": ["none", "left", "right"]},
        "observation": {
            "kind": "frame",
            "source_shape": [2 * SIDE, 2 * SIDE, 3],
            "crop": {"top": 0, "bottom": 2 * SIDE, "left": 0, "right": 2 * SIDE},
            "shape": [SIDE, SIDE, 3],
        },
        "latent_size": Z,
        "recurrent_state": [{"name": name, "shape": [R]} for name in "hc"],
        "head": {"kind": "gaussian_mixture", "form": "joint", "components": K},
        "noise": {"normal": Z, "uniform": 1},
        "temperature_rule": "paper",
        "done": {"threshold": 0.0},
        "reward": {"kind": "head", "value": None},
        "graphs": {
            name: {
                "onnx": file(f"{name}.onnx"),
                "torchscript": file(f"{name}.pt"),
                "opset": 18,
                "inputs": inputs,
                "outputs": outputs,
            }
            for name, (inputs, outputs) in SIGNATURES.items()
        },
        "bank": {**file("bank.npz"), "size": 5},
        "controller": {**file("controller.npz"), "inputs": ["latent", "h"]},
        "origin": {"environment": "none"},
        "quality": {},
    }


def write_manifest(folder: Path, **changed: Any) -> Path:
    """Write the manifest of the files in the folder, with hashes and version."""
    manifest = seal({**tiny_fields(folder), **changed})
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))
    return folder


@pytest.fixture
def tiny_bundle(tiny_parts: dict[str, bytes], tmp_path: Path) -> Path:
    """Return a tiny real bundle that the test may change."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in tiny_parts.items():
        (folder / name).write_bytes(content)
    return write_manifest(folder)


@pytest.fixture
def rewrite() -> Callable[..., Path]:
    """Return a function that rewrites a tiny bundle's manifest with changed fields."""
    return write_manifest


@pytest.fixture(params=[*SPACES, "tiny_onnx", "tiny_torch", "takecover"])
def any_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Return each kind of world in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads only slow down batches this small
    yield _world(request)
    torch.set_num_threads(threads)


def _world(request: pytest.FixtureRequest) -> World:
    if request.param in SPACES:
        return fake_world(space=SPACES[request.param])
    if request.param == "takecover":
        if not TAKECOVER.is_dir():
            pytest.skip("bundles/takecover is not there")
        return load_world(TAKECOVER, "onnx")
    backend = "onnx" if request.param == "tiny_onnx" else "torch"
    return load_world(request.getfixturevalue("tiny_bundle"), backend, trust=TRUSTED)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseException):
        return type(one) is type(other) and str(one) == str(other)
    if is_dataclass(one):
        names = [f.name for f in fields(one) if f.name not in ("elapsed_ms", "idle_s")]
        return type(one) is type(other) and all(
            _same(getattr(one, name), getattr(other, name)) for name in names
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        floats = one.dtype.kind == "f"
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=floats)
    return type(one) is type(other) and one == other


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    """Return a function that tells whether two results are equal bit for bit, except times."""
    return _same


@pytest.fixture(scope="session")
def ask() -> Callable[[Engine, Request], Any]:
    """Return a function that validates a request and runs the engine until it has a result."""

    def ask_engine(engine: Engine, request: Request) -> Any:
        future = engine.submit(validated(type(request), request))
        for _ in range(10_000):
            if future.done():
                break
            engine.turn()
        return future.result(timeout=0)

    return ask_engine


class FakeClock:
    """A clock that moves only when `now_s` is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock for one test."""
    return FakeClock()


@pytest.fixture
def finished() -> Callable[[Any], Any]:
    """Return a function that runs a job alone to its end."""
    return lambda work: finish(Job(work), time.monotonic)


@pytest.fixture
def outcomes(finished: Callable[[Any], Any]) -> Callable[..., Iterator[StepOutcome]]:
    """Return a function that runs trajectories with actions (B, H, …): an outcome per step."""

    def dream(present: RolloutStart, actions: Actions, seeds: np.ndarray) -> Iterator[StepOutcome]:
        trajectories = Trajectories.of(present, len(actions), seeds, noise.PLAN)
        for t in range(actions.shape[1]):
            yield finished(trajectories.advance(actions[:, t]))

    return dream


@pytest.fixture
def worth(finished: Callable[[Any], Any]) -> Callable[..., np.ndarray]:
    """Return a function from actions (N, H, …) to values; its fields are CandidateEvaluator's."""

    def values(present: RolloutStart, actions: Any, seed: int = 0, **fields: Any) -> np.ndarray:
        evaluator = CandidateEvaluator(present, **{"slice_rows": 8, **fields})
        return finished(evaluator.evaluate(np.asarray(actions), seed)).values

    return values
