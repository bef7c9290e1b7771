"""Does a device compute what a CPU does, and how long do a step and a plan take on it?

    python benchmarks/gpu.py                              # every backend for CUDA
    python benchmarks/gpu.py --device cpu --runs 5        # the same code without a CUDA device

Parity is with onnxruntime on the CPU: one step of 1,024 rows, the values of 20-step plans, and a
step in the state store beside a plain one. Times are those of a caller that waits for the results.
Exits with 1 if float32 has no parity, with 2 without a CUDA device.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
import torch

from dreamserve import noise
from dreamserve.backends.accuracy import (
    POSITIVE_TEMPERATURES,
    measured_error,
    random_step,
    relative_difference,
)
from dreamserve.backends.base import Backend, Precision, StepInput
from dreamserve.backends.host_state import make_state_store
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.engine.imagination.evaluator import CandidateEvaluator
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World
from dreamserve.errors import BackendError
from tables import print_circumstances, print_table
from worlds import bundle_of

WORLDS = "lstm256-z32,lstm512-z64"
HORIZON = 20
TOLERANCE = 1e-4  # one step in float32, relative
# A rounding difference can change a random draw, and then the rest of that trajectory.
VALUE_TOLERANCE, MAX_DIFFERENT_SHARE = 1e-3, 0.02


def backends(bundle: Bundle, device: str) -> Iterator[Backend]:
    """Yield every backend of a bundle on a device; print which one is unavailable."""
    precisions: tuple[Precision, ...] = get_args(Precision)
    for precision in precisions:
        yield TorchDeviceBackend.from_bundle(bundle, device, precision)
    try:
        yield OnnxBackend.from_bundle(bundle, device="cuda" if device == "cuda" else "cpu")
    except BackendError as error:
        print(f"- {bundle.manifest.name}: no onnxruntime on CUDA: {error}")


def step_inputs(bundle: Bundle, rows: int) -> tuple[np.ndarray, ...]:
    """Return slots, actions, noise keys and temperatures of a step of `rows` sessions."""
    step = random_step(bundle.manifest, np.random.default_rng(1), rows, POSITIVE_TEMPERATURES)
    keys = noise.keys(np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64), noise.STEP)
    return np.arange(rows), step.action, keys, step.temperature


def candidate_values(bundle: Bundle, backend: Backend, candidates: int) -> np.ndarray:
    """Return the values of random candidates, as the engine computes them on this backend."""
    state = tuple(bundle.bank[f"state.{t.name}"][:1] for t in bundle.manifest.recurrent_state)
    world = World(bundle.manifest, backend, bundle.bank)
    evaluator = CandidateEvaluator(
        RolloutStart(world, bundle.bank["mu"][:1], state, step=0, temperature=1.0),
        slice_rows=256,
        discount=0.99,
    )
    actions = np.random.default_rng(2).integers(0, 3, (candidates, HORIZON))
    return np.asarray(finish(Job(evaluator.evaluate(actions, 5)), time.monotonic).values)


def store_difference(bundle: Bundle, backend: Backend, size: int = 64) -> float:
    """Return the relative difference of a step in the state store from a plain step; 0 is right."""
    spec = bundle.manifest
    slots, action, keys, temperature = step_inputs(bundle, size)
    start = random_step(spec, np.random.default_rng(3), size, POSITIVE_TEMPERATURES)
    store = make_state_store(spec, backend, size, (size,))
    store.write(slots, start.latent, start.state)
    numbers = noise.draw(keys, spec.noise.normal, spec.noise.uniform)
    plain = backend.step(StepInput(start.latent, action, start.state, temperature, numbers))
    staged = store.stage(slots, action, keys, temperature)
    store.commit(slots, staged, staged.finite, None)
    pairs = [(plain.latent, staged.latent), (plain.reward, staged.reward)]
    pairs += zip(plain.state, staged.output().state, strict=True)
    pairs.append((plain.latent[-1:], store.read(size - 1)[0]))
    return max(relative_difference(*pair) for pair in pairs)


def parity(bundle: Bundle, reference: Backend, backend: Backend, candidates: int) -> bool:
    """Print a backend's differences from the reference; return whether it has parity.

    For precisions below float32 only the state store's difference counts.
    """
    error = measured_error(bundle.manifest, reference, backend)
    expected, values = (candidate_values(bundle, b, candidates) for b in (reference, backend))
    different = float((np.abs(values - expected) > VALUE_TOLERANCE * np.abs(expected)).mean())
    store = store_difference(bundle, backend)
    exact = getattr(backend, "precision", "float32") == "float32"
    near = max(error.outputs, error.latent) <= TOLERANCE and different <= MAX_DIFFERENT_SHARE
    holds = (near or not exact) and store <= TOLERANCE
    print(
        f"- {bundle.manifest.name}, {backend.name}: errors of one step {error.outputs:.1e}"
        f" (results) and {error.latent:.1e} (latents), {error.other_components:.2%} of draws"
        f" differ; {different:.1%} of {HORIZON}-step values differ; state store off by {store:.1e}:"
        f" {'holds' if holds else 'FALLS SHORT'}"
    )
    return holds


def times_us(work: Callable[[], object], runs: int) -> np.ndarray:
    """Return the µs of each run, after three unmeasured ones."""
    times = []
    for _ in range(3 + runs):
        began_ns = time.perf_counter_ns()
        work()
        times.append((time.perf_counter_ns() - began_ns) / 1e3)
    return np.array(times[3:])


def stepping(bundle: Bundle, backend: Backend, size: int) -> Callable[[], None]:
    """Return a function that steps `size` sessions and commits the step."""
    store = make_state_store(bundle.manifest, backend, size, (size,))
    inputs = step_inputs(bundle, size)

    def advance() -> None:
        staged = store.stage(*inputs)
        store.commit(inputs[0], staged, staged.finite, None)

    return advance


def lines(bundle: Bundle, backend: Backend, options: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the table's rows for one backend: steps of each size, then a plan."""

    def line(work: str, count: int, times: np.ndarray) -> list[str]:
        median, late = np.percentile(times, (50, 90))
        cells = [bundle.manifest.name, work, f"{count:,}", backend.name]
        return [*cells, f"{median:,.0f}", f"{late:,.0f}"]

    for size in options.sizes:
        times = times_us(stepping(bundle, backend, size), options.runs)
        yield line("step", size, times)
    runs = max(options.runs // 10, 1)
    times = times_us(lambda: candidate_values(bundle, backend, options.candidates), runs)
    yield line(f"plan of {HORIZON}", options.candidates, times)


def main() -> int:
    """Print parity and one table of times; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", default="1,64,256,1024,4096", help="sessions in a batch")
    parser.add_argument("--worlds", default=WORLDS)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device found (--device cpu runs the same code)")
        return 2
    options.sizes = sorted({int(size) for size in options.sizes.split(",")})
    holds, rows = True, []
    for name in options.worlds.split(","):
        bundle = load_bundle(bundle_of(name))
        reference = OnnxBackend.from_bundle(bundle)
        for backend in backends(bundle, options.device):
            holds = parity(bundle, reference, backend, options.candidates) and holds
            rows += lines(bundle, backend, options)
    print()
    print_table(["world", "work", "rows", "backend", "median µs", "p90 µs"], rows)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "none"
    print_circumstances(["torch", "onnxruntime"], cores=f"CUDA device: {device}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
