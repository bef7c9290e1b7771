"""The lower bound of a step's cost: onnxruntime alone, with its outputs fed back as its inputs.

The loop draws no noise and does not look up, validate, gather or store anything. It runs on one
thread in the calling process; `pinned` selects the core.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dreamserve.backends.accuracy import random_step
from dreamserve.bundle import load_bundle


class BareLoop:
    """A batch of dreams, stepped with constant actions and noise."""

    def __init__(self, bundle: Path, rows: int) -> None:
        spec = load_bundle(bundle).manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(bundle / "step.onnx"), options, providers=["CPUExecutionProvider"]
        )
        start = random_step(spec, np.random.default_rng(1), rows)
        temperature = np.ones(rows, np.float32)
        values = (start.latent, start.action, *start.state, temperature, start.noise)
        self._start: dict[str, Any] = dict(zip(spec.graph_inputs()["step"], values, strict=True))
        # What /step returns and the next step needs; the mixture is not computed.
        self._fed_back = ["latent", *(tensor.name for tensor in spec.recurrent_state)]
        self._outputs = [f"next_{name}" for name in self._fed_back] + ["reward", "done_logit"]
        self.rows = rows

    def run(self, steps: int) -> None:
        """Take `steps` steps from the start."""
        feed = dict(self._start)
        for _ in range(steps):
            outputs = self._session.run(self._outputs, feed)
            feed.update(zip(self._fed_back, outputs, strict=False))

    def rate(self, seconds: float) -> float:
        """Run for `seconds`; return the steps per second of all dreams together."""
        taken, began_s = 0, time.perf_counter()
        while (spent_s := time.perf_counter() - began_s) < seconds:
            self.run(10)
            taken += 10 * self.rows
        return taken / spent_s


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Restrict this thread to one core until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
