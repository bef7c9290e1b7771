"""The process of a trial: opens and runs the graphs that its parent sends, within limits.

    python -P -m dreamserve.backends.trial_process      started by `trial_start` only

Input: a line of JSON with the limits and the graphs, then the graphs' bytes. Output: a line of JSON
before each graph, with its name, and one with its error; after errors, the status is FAILED.
"""

import json
import os
import sys
from typing import Any

import numpy as np

from dreamserve.backends.onnx_session import misfits, open_session
from dreamserve.backends.trial_start import FAILED
from dreamserve.errors import BackendError


def main() -> int:
    """Try each graph; return the exit status."""
    if not (line := sys.stdin.buffer.readline()):
        return 0  # there is no trial
    trial = json.loads(line)
    graphs = [(graph, sys.stdin.buffer.read(graph["bytes"])) for graph in trial["graphs"]]
    _limit(trial["max_graph_bytes"], trial["load_timeout_s"])
    status = 0
    for graph, content in graphs:
        _tell(graph=graph["name"])
        try:
            _try(content, graph, trial["max_graph_bytes"])
        except BackendError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            _tell(error=(str(error).splitlines() or [type(error).__name__])[0])
            status = FAILED
    return status


def _try(content: bytes, graph: dict[str, Any], max_bytes: int) -> None:
    session = open_session(content, 1, "cpu", max_bytes)
    if misfits(session.get_inputs(), graph["inputs"]):
        return  # the backend refuses it, and says why
    for rows in graph["rows"]:
        feed = {
            name: np.full((rows, *shape), graph["numbers"].get(name, 0), dtype)
            for name, (shape, dtype) in graph["inputs"].items()
        }
        session.run(None, feed)


def _limit(max_bytes: int, timeout_s: float) -> None:
    """Limit this process: its memory beyond what it has now, CPU time, and no files at all."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows: its parent still ends it when its time is over
        return
    limits = {
        resource.RLIMIT_CPU: int(timeout_s) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if present := _memory_bytes():
        limits[resource.RLIMIT_AS] = present + max_bytes
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _memory_bytes() -> int:
    """Return the size of this process's address space; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _tell(**line: str) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
