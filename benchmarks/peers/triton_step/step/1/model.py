"""The step as a model of Triton's Python backend: onnxruntime, sessions' states as rows of arrays.

    benchmarks/.peers/bin/python benchmarks/peers/triton_serve.py BUNDLE --port 9004

A request with START begins a sequence or starts it over.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

MAX_SESSIONS = 4096
OUTPUTS = ["next_latent", "reward", "done_logit", "next_h", "next_c"]


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().item()


class TritonPythonModel:
    """Steps many sequences in one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the world named in the environment by triton_serve.py."""
        bundle = Path(os.environ["STEP_BUNDLE"])
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.normal: int = manifest["noise"]["normal"]
        self.uniform: int = manifest["noise"]["uniform"]
        self.threshold: float = manifest["done"]["threshold"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.graph = onnxruntime.InferenceSession(
            str(bundle / "step.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.random = np.random.default_rng()
        with np.load(bundle / "bank.npz") as bank:
            self.bank = {name: bank[name].astype(np.float32) for name in bank.files}
        self.latent = np.zeros((MAX_SESSIONS, manifest["latent_size"]), np.float32)
        self.h = np.zeros((MAX_SESSIONS, self.bank["state.h"].shape[1]), np.float32)
        self.c = np.zeros_like(self.h)
        self.taken = np.zeros(MAX_SESSIONS, np.int64)
        self.rows: dict[int, int] = {}

    def row_of(self, request: Any) -> int:
        """Return the row of the request's sequence; reset it if the request has START."""
        sequence = _input(request, "CORRID")
        if not _input(request, "START"):
            return self.rows[sequence]
        row = self.rows.setdefault(sequence, len(self.rows))
        entry = self.random.integers(len(self.bank["mu"]))
        mu, logvar = self.bank["mu"][entry], self.bank["logvar"][entry]
        normal = self.random.standard_normal(len(mu), np.float32)
        self.latent[row] = mu + np.exp(logvar / 2) * normal
        self.h[row], self.c[row] = self.bank["state.h"][entry], self.bank["state.c"][entry]
        self.taken[row] = 0
        return row

    def execute(self, requests: list[Any]) -> list[Any]:
        """Advance all sequences of the batch by one step."""
        count = len(requests)
        rows = [self.row_of(request) for request in requests]
        noise = np.empty((count, self.normal + self.uniform), np.float32)
        noise[:, : self.normal] = self.random.standard_normal((count, self.normal), np.float32)
        noise[:, self.normal :] = self.random.random((count, self.uniform), np.float32)
        feeds = {
            "latent": self.latent[rows],
            "action": np.array([_input(request, "action") for request in requests], np.int64),
            "h": self.h[rows],
            "c": self.c[rows],
            "temperature": np.ones(count, np.float32),
            "noise": noise,
        }
        latent, reward, done_logit, self.h[rows], self.c[rows] = self.graph.run(OUTPUTS, feeds)
        self.latent[rows] = latent
        self.taken[rows] += 1
        results = {
            "latent": latent,
            "reward": reward[:, None],
            "terminated": done_logit[:, None] > self.threshold,
            "step": self.taken[rows][:, None],
        }
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, part[i : i + 1]) for name, part in results.items()]
            )
            for i in range(count)
        ]
