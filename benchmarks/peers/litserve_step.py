"""LitServe in its fastest configuration: batches of up to 64 within 1 ms, onnxruntime, fast queue.

    benchmarks/.peers/bin/python benchmarks/peers/litserve_step.py BUNDLE --port 9003

onnxruntime is faster here than torch (`--torch` runs that instead). One worker holds the sessions.
A session begins with its first step, since LitServe sends only that route to the worker. Two
requests for one session in one batch would start from the same state; the load sends none.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime
import torch

MAX_SESSIONS = 4096
Step = Callable[..., list[np.ndarray]]


def onnx_step(bundle: Path) -> Step:
    """Return the step as a function of arrays, by onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(bundle / "step.onnx"), options, providers=["CPUExecutionProvider"]
    )
    inputs = [part.name for part in session.get_inputs()]
    outputs = ["next_latent", "reward", "done_logit", "next_h", "next_c"]
    return lambda *values: session.run(outputs, dict(zip(inputs, values, strict=True)))


def torch_step(bundle: Path) -> Step:
    """Return the step as a function of arrays, by torch on one thread."""
    torch.set_num_threads(1)
    graph = torch.jit.load(str(bundle / "step.pt")).float().eval()

    @torch.inference_mode()
    def step(*values: np.ndarray) -> list[np.ndarray]:
        return [part.numpy() for part in graph(*map(torch.from_numpy, values))[:5]]

    return step


class StepAPI(litserve.LitAPI):
    """Steps many sessions in one batch; their states are rows of arrays."""

    def __init__(self, bundle: Path, use_torch: bool) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.001, api_path="/step")
        self.bundle, self.use_torch = bundle, use_torch

    def setup(self, device: str) -> None:
        """Load the world, in the worker."""
        manifest = json.loads((self.bundle / "manifest.json").read_text())
        self.normal: int = manifest["noise"]["normal"]
        self.uniform: int = manifest["noise"]["uniform"]
        self.threshold: float = manifest["done"]["threshold"]
        self.graph = (torch_step if self.use_torch else onnx_step)(self.bundle)
        self.random = np.random.default_rng()
        with np.load(self.bundle / "bank.npz") as bank:
            self.bank = {name: bank[name].astype(np.float32) for name in bank.files}
        self.latent = np.zeros((MAX_SESSIONS, manifest["latent_size"]), np.float32)
        self.h = np.zeros((MAX_SESSIONS, self.bank["state.h"].shape[1]), np.float32)
        self.c = np.zeros_like(self.h)
        self.taken = np.zeros(MAX_SESSIONS, np.int64)
        self.rows: dict[str, int] = {}

    def begin(self, session_id: str) -> int:
        """Start a session at a random entry of the bank; return its row."""
        row = self.rows[session_id] = len(self.rows)
        entry = self.random.integers(len(self.bank["mu"]))
        mu, logvar = self.bank["mu"][entry], self.bank["logvar"][entry]
        normal = self.random.standard_normal(len(mu), np.float32)
        self.latent[row] = mu + np.exp(logvar / 2) * normal
        self.h[row], self.c[row] = self.bank["state.h"][entry], self.bank["state.c"][entry]
        return row

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the requests unchanged: `predict` gathers their fields."""
        return inputs

    def predict(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Advance all sessions of the batch by one step."""
        count = len(requests)
        ids = [request["session_id"] for request in requests]
        rows = [self.rows[key] if key in self.rows else self.begin(key) for key in ids]
        noise = np.empty((count, self.normal + self.uniform), np.float32)
        noise[:, : self.normal] = self.random.standard_normal((count, self.normal), np.float32)
        noise[:, self.normal :] = self.random.random((count, self.uniform), np.float32)
        latent, reward, done_logit, self.h[rows], self.c[rows] = self.graph(
            self.latent[rows],
            np.array([request["action"] for request in requests], np.int64),
            self.h[rows],
            self.c[rows],
            np.ones(count, np.float32),
            noise,
        )
        self.latent[rows] = latent
        self.taken[rows] += 1
        columns = (self.taken[rows], latent, reward, done_logit > self.threshold)
        names = ("session_id", "step", "latent", "reward", "terminated")
        results = zip(ids, *(column.tolist() for column in columns), strict=True)
        constants: dict[str, Any] = {"truncated": False, "info": {}}
        return [dict(zip(names, result, strict=True)) | constants for result in results]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the results unchanged."""
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--torch", action="store_true")
    arguments = parser.parse_args()
    server = litserve.LitServer(
        StepAPI(arguments.bundle, arguments.torch),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,  # ZeroMQ instead of a multiprocessing queue: faster, with less variance
    )
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
