"""Tries a bundle's ONNX graphs in a process of their own, before this process loads them.

The rules of `dreamserve.graph_rules` make the memory and time of a graph the same for all inputs of
one batch size, but not small; and a file may crash a library that parses it. The other process has
limits on memory and time. What it survives, this process survives.
"""

import json
import signal
import subprocess
import sys
from typing import Any

import numpy as np

from dreamserve.backends.check import TRIED
from dreamserve.backends.onnx_session import TensorOf
from dreamserve.backends.trial_start import FAILED, PROGRAM, start
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, Problems
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve.trust import Trust

# The batch sizes that are tried: those of loading, and large ones that the engine uses.
ROWS: dict[GraphName, tuple[int, ...]] = {
    "encode": (1, 2, 16),
    "step": (1, 2, 256),
    "decode": (1, 2, 16),
    "policy": (1, 2, 256),
}
_CPU_TIME_OVER = -getattr(signal, "SIGXCPU", 0)  # Windows has no such limit
_MAX_REMEMBERED = 256
_passed: dict[tuple[Any, ...], None] = {}  # trials of this process, the oldest first


def try_graphs(bundle: Bundle) -> None:
    """Raise BundleError unless the bundle's ONNX graphs load and run within its limits.

    A graph with other inputs than the manifest's is loaded, but not run. Graphs that passed are not
    tried again by this process. Raises BackendError if the other process cannot be started.
    """
    graphs, trust = bundle.manifest.graphs.by_name(), bundle.trust
    requests = [_request(bundle.manifest, name) for name in graphs]
    hashes = (graph.onnx.sha256 for graph in graphs.values())
    trial = (*hashes, json.dumps(requests), trust.max_graph_bytes, trust.load_timeout_s)
    if trial not in _passed:
        _try(bundle, requests)
        _passed[trial] = None
        if len(_passed) > _MAX_REMEMBERED:
            del _passed[next(iter(_passed))]


def signature(spec: WorldSpec, name: GraphName) -> tuple[dict[str, TensorOf], dict[str, TensorOf]]:
    """Return what a graph takes and what it returns, by name, in order."""
    action: Any = np.dtype(spec.action_space.dtype).name
    inputs: dict[str, TensorOf] = {
        key: (shape, action if key == "action" else "float32")
        for key, shape in spec.graph_inputs()[name].items()
    }
    return inputs, {key: (shape, "float32") for key, shape in spec.graph_outputs()[name].items()}


def _request(spec: WorldSpec, name: GraphName) -> dict[str, Any]:
    """Return what the process is told of a graph: batch sizes; the inputs' shapes and dtypes.

    It runs the graph on the numbers of `check_backend`, which this process runs it on afterwards.
    """
    inputs = signature(spec, name)[0]
    return {"name": name, "rows": ROWS[name], "inputs": inputs, "numbers": TRIED}


def _try(bundle: Bundle, requests: list[dict[str, Any]]) -> None:
    trust = bundle.trust
    contents = [bundle.graph_bytes(name, "onnx") for name in bundle.manifest.graphs.by_name()]
    sizes = ({"bytes": len(content)} for content in contents)
    header = {
        "graphs": [one | size for one, size in zip(requests, sizes, strict=True)],
        "max_graph_bytes": trust.max_graph_bytes,
        "load_timeout_s": trust.load_timeout_s,
    }
    line = json.dumps(header) + "\n"
    status, told = _run(line.encode() + b"".join(contents), trust.load_timeout_s)
    if status == 0:
        return
    if not told:
        raise BackendError(f"{sys.executable} cannot run {PROGRAM}: status {status}")
    problems, graph = Problems(), ""
    for one in told:
        graph = one.get("graph", graph)
        if "error" in one:
            problems.add(f"{_where(bundle, graph)} cannot be run: {_why(one['error'], trust)}")
    if status in (None, _CPU_TIME_OVER):
        limit = f"{trust.load_timeout_s:g} s (load_timeout_s)"
        problems.add(f"{_where(bundle, graph)} does not load and run within {limit}")
    elif status != FAILED:
        why = f"onnxruntime ended with status {status}"
        problems.add(f"{_where(bundle, graph)} cannot be run: {why}")
    problems.raise_if_any()


def _where(bundle: Bundle, graph: str) -> str:
    return f"{bundle.path}: graph {graph} of {bundle.manifest.name}"


def _why(error: str, trust: Trust) -> str:
    if "alloc" in error or "memory" in error:
        error += f"; it may take {trust.max_graph_bytes:,} bytes (max_graph_bytes)"
    return error


def _run(content: bytes, timeout_s: float) -> tuple[int | None, list[dict[str, str]]]:
    """Return the process's exit status, None if its time was over, and what it told, in order."""
    status: int | None = None
    with start() as process:
        try:
            output, _ = process.communicate(content, timeout_s)
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    return status, [json.loads(line) for line in output.splitlines()]
