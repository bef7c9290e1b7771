"""How `gpu.py` takes its times, and what it says of the machine."""

import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    world: str
    work: str
    rows: int
    path: str
    times_us: np.ndarray

    def __str__(self) -> str:
        median, late = np.percentile(self.times_us, (50, 90))
        cells = f"{self.world} | {self.work} | {self.rows} | {self.path}"
        return f"| {cells} | {median:.1f} | {late:.1f} |"


def times_us(work: Callable[[], object], runs: int, stream: object | None) -> np.ndarray:
    """Return microseconds a run (runs,): of the device on `stream`, or of the host's clock."""
    for _ in range(3):
        work()
    if stream is None:
        taken = []
        for _ in range(runs):
            begun_ns = time.perf_counter_ns()
            work()
            taken.append((time.perf_counter_ns() - begun_ns) / 1e3)
        return np.array(taken)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    for begin, end in events:
        begin.record(stream)
        work()
        end.record(stream)
    torch.cuda.synchronize()
    return np.array([1e3 * begin.elapsed_time(end) for begin, end in events])


def machine(device: str) -> str:
    """Return the device's name, its driver and the libraries' versions."""
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    if device == "cpu":
        return f"{platform.processor() or platform.machine()} (CPU), {versions}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        driver = answer.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name()}, driver {driver}, {versions}"
