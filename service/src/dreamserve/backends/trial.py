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

from dreamserve.backends.trial_start import PROGRAM, start
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, BundleError
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName

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

    Graphs that passed are not tried again by this process. Raises BackendError if the other
    process cannot be started.
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


def _request(spec: WorldSpec, name: GraphName) -> dict[str, Any]:
    """Return what the process is told of a graph: batch sizes; the inputs' shapes and dtypes."""
    discrete = spec.action_space.dtype is np.int64
    inputs = {
        key: (shape, "int64" if key == "action" and discrete else "float32")
        for key, shape in spec.graph_inputs()[name].items()
    }
    return {"name": name, "rows": ROWS[name], "inputs": inputs}


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
    where = f"{bundle.path}: graph {told.get('graph')} of {bundle.manifest.name}"
    if status in (None, _CPU_TIME_OVER):
        limit = f"{trust.load_timeout_s:g} s (load_timeout_s)"
        raise BundleError(f"{where} does not load and run within {limit}")
    why = told.get("error", f"onnxruntime ended with status {status}")
    if "alloc" in why or "memory" in why:
        why += f"; it may take {trust.max_graph_bytes:,} bytes (max_graph_bytes)"
    raise BundleError(f"{where} cannot be run: {why}")


def _run(content: bytes, timeout_s: float) -> tuple[int | None, dict[str, str]]:
    """Return the process's exit status, None if its time was over, and the last it told."""
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
    told: dict[str, str] = {}
    for line in output.splitlines():
        told |= json.loads(line)
    return status, told
