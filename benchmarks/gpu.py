"""What a step and a plan cost on a CUDA device, and whether it dreams as a CPU does.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --sizes 1,4     # tries the script itself, slowly

Times are medians and 90th percentiles of many runs: of the device, between CUDA events, unless
they say `host`. Parity is with onnxruntime on the CPU. Exits with 1 if that fails, and with 2 where
there is no CUDA device.
"""

import argparse
import sys
from typing import get_args

import numpy as np
import torch

from dreamserve import noise
from dreamserve.backends.accuracy import WARM, measured_error, random_step, relative_difference
from dreamserve.backends.base import Backend, Precision, StepInput
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.onnx_rows import OnnxDeviceBackend
from dreamserve.backends.rows import make_rows
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.backends.torch_horizon import SIZES
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.engine.imagination.trajectories import Present, evaluate
from dreamserve.engine.world import World
from dreamserve.errors import BackendError
from gpu_timing import Line, machine, times_us
from worlds import bundle_of

WORLDS = ("lstm256-z32", "lstm512-z64")
CANDIDATES, HORIZON = 1000, 20
PLAN = f"plan of {HORIZON}"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
TOLERANCE = 1e-4  # one step in float32, relative
# Over a horizon a last bit may tip a draw, and such a future goes another way for good.
VALUE_TOLERANCE, MAY_DIFFER = 1e-3, 0.02
TARGETS = (  # world, work, rows, microseconds
    ("lstm256-z32", "step", 4096, 120.0),
    ("lstm256-z32", PLAN, CANDIDATES, 1500.0),
)


def asked(bundle: Bundle, rows: int) -> tuple[np.ndarray, ...]:
    """Return slots, actions, keys and temperatures of a step of `rows` sessions."""
    step = random_step(bundle.manifest, np.random.default_rng(1), rows, WARM)
    keys = noise.keys(np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64), noise.STEP)
    return np.arange(rows), step.action, keys, step.temperature


def present_of(bundle: Bundle, backend: Backend) -> Present:
    """Return a start out of the world's bank."""
    state = tuple(bundle.bank[f"state.{t.name}"][:1] for t in bundle.manifest.recurrent_state)
    world = World(bundle.manifest, backend, bundle.bank)
    return Present(world, bundle.bank["mu"][:1], state, step=0, temperature=1.0)


def planned(bundle: Bundle, backend: Backend, candidates: int) -> np.ndarray:
    """Return what the engine says that random candidates earn, on this backend."""
    actions = np.random.default_rng(2).integers(0, 3, (candidates, HORIZON))
    work = evaluate(present_of(bundle, backend), actions, 5, 0.99, slice_rows=256)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return np.asarray(done.value)


def parity(bundle: Bundle, reference: Backend, backend: TorchDeviceBackend, way: str) -> bool:
    """Print how far one arithmetic's answers are from the reference's; is that near enough?"""
    error = measured_error(bundle.manifest, reference, backend)
    right = planned(bundle, reference, 200)
    values = planned(bundle, backend, 200)
    apart = float((np.abs(values - right) > VALUE_TOLERANCE * np.abs(right)).mean())
    rows = rows_differ(bundle, backend)
    fits = max(error.answers, error.latent) <= TOLERANCE and apart <= MAY_DIFFER
    # The coarser modes differ, by what is printed; fused kernels are nothing that is served.
    wanted = backend.precision == "float32" and way != "fused"
    verdict = "" if not wanted else (", parity" if fits else ", NO PARITY")
    print(
        f"- {bundle.manifest.name}, {backend.name}, {way}:"
        f" one step off by {error.answers:.1e} (answers) and {error.latent:.1e} (latents),"
        f" {error.other_draws:.2%} drawn otherwise;"
        f" {apart:.1%} of the {HORIZON}-step values apart; rows off by {rows:.1e}{verdict}"
    )
    return (fits or not wanted) and (rows <= TOLERANCE or way == "fused")


def rows_differ(bundle: Bundle, backend: TorchDeviceBackend, size: int = 64) -> float:
    """Return how far a staged step is from the same backend's plain one: it should not be."""
    spec = bundle.manifest
    slots, action, keys, temperature = asked(bundle, size)
    start = random_step(spec, np.random.default_rng(3), size, WARM)
    rows = backend.rows(spec, size, (size,))
    rows.write(slots, start.latent, start.state)
    numbers = noise.draw(keys, spec.noise.normal, spec.noise.uniform)
    plain = backend.step(StepInput(start.latent, action, start.state, temperature, numbers))
    staged = rows.stage(slots, action, keys, temperature)
    rows.commit(slots, staged, staged.finite, None)
    pairs = [(plain.latent, staged.latent), (plain.reward, staged.reward)]
    pairs += zip(plain.state, staged.output().state, strict=True)
    pairs.append((plain.latent[-1:], rows.read(size - 1)[0]))
    return max(relative_difference(*pair) for pair in pairs)


def device_lines(
    bundle: Bundle, backend: TorchDeviceBackend, path: str, sizes: tuple[int, ...], runs: int
) -> list[Line]:
    """Time what this backend does on its device, and the same as the engine meets it."""
    spec, clock = bundle.manifest, backend.stream
    rows = backend.rows(spec, sizes[-1], sizes)
    lines = []
    with rows.recorder.work():
        for size in sizes:
            program = rows.programs[min(known for known in rows.programs if known >= size)]
            times = times_us(program.run, runs, clock)
            lines.append(Line(spec.name, "step", size, path, times))
    lines += host_lines(bundle, backend, path, sizes[-1], runs)
    size = min(known for known in SIZES if known >= CANDIDATES)
    assert backend.horizons is not None  # the lines before have planned
    plan = backend.horizons.programs[size, HORIZON, True]
    with plan.recorder.work():
        times = times_us(plan.run, max(runs // 10, 3), clock)
    return [*lines, Line(spec.name, PLAN, CANDIDATES, path, times)]


def host_lines(bundle: Bundle, backend: Backend, path: str, count: int, runs: int) -> list[Line]:
    """Time a step and a plan from the engine's side, on any backend."""
    spec = bundle.manifest
    rows = make_rows(spec, backend, count, (count,))
    step = asked(bundle, count)

    def advance() -> None:
        staged = rows.stage(*step)
        rows.commit(step[0], staged, staged.finite, None)

    steps = times_us(advance, runs, None)
    plans = times_us(lambda: planned(bundle, backend, CANDIDATES), max(runs // 10, 3), None)
    return [
        Line(spec.name, "stage + commit, host", count, path, steps),
        Line(spec.name, f"{PLAN}, host", CANDIDATES, path, plans),
    ]


def onnx_lines(bundle: Bundle, sizes: tuple[int, ...], runs: int) -> list[Line]:
    """Time onnxruntime on CUDA as the engine meets it; nothing where it cannot use CUDA."""
    try:
        backend = OnnxDeviceBackend.from_bundle(bundle, device="cuda")
    except BackendError as error:
        print(f"- {bundle.manifest.name}: no onnxruntime on CUDA: {error}")
        return []
    lines = []
    for size in sizes:
        step = random_step(bundle.manifest, np.random.default_rng(1), size, WARM)
        times = times_us(lambda step=step: backend.step(step), runs, None)
        lines.append(Line(bundle.manifest.name, "step, host", size, backend.name, times))
    return lines + host_lines(bundle, backend, backend.name, sizes[-1], runs)


def paths(device: str) -> list[tuple[Precision, str]]:
    """Return what is timed: arithmetics, and ways to run them."""
    if device == "cpu":
        return [("float32", "eager"), ("bf16", "eager")]
    return [("float32", "eager")] + [(p, way) for p in PRECISIONS for way in ("graph", "fused")]


def measure(name: str, options: argparse.Namespace) -> tuple[bool, list[Line]]:
    """Check and time one world."""
    bundle = load_bundle(bundle_of(name))
    reference = OnnxBackend.from_bundle(bundle)
    fits, lines = True, []
    for precision, way in paths(options.device):
        backend = TorchDeviceBackend.from_bundle(bundle, options.device, precision)
        backend.recorded, backend.fused = way != "eager", way == "fused"
        path = f"{backend.name}, {way}"
        try:
            fits = parity(bundle, reference, backend, way) and fits
            lines += device_lines(bundle, backend, path, options.sizes, options.runs)
        except RuntimeError as error:
            # TorchScript's compiler is an extra: what it cannot do is said, and held against nobody
            if way != "fused":
                raise
            print(f"- {name}, {path}: fails: {str(error).splitlines()[0]}")
    if options.device == "cuda":
        lines += onnx_lines(bundle, options.sizes, options.runs)
    return fits, lines


def print_targets(lines: list[Line]) -> None:
    """Say which path meets which target."""
    print("\nTargets, of device time (medians):\n")
    for world, work, rows, target_us in TARGETS:
        for line in lines:
            if (line.world, line.work, line.rows) == (world, work, rows):
                median = float(np.median(line.times_us))
                verdict = "pass" if median <= target_us else "short"
                print(
                    f"- {world}, {work}, {rows:,}: {median:.1f} us of {target_us:g} us"
                    f" ({line.path}): {verdict}"
                )


def main() -> int:
    """Print the parity, one table and the targets; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", default="1,64,256,1024,4096", help="sessions in a batch")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here (--device cpu tries the script itself)")
        return 2
    options.sizes = tuple(sorted({int(size) for size in options.sizes.split(",")}))
    print(f"{machine(options.device)}\n")
    fits, lines = True, []
    for name in options.worlds.split(","):
        here, more = measure(name, options)
        fits, lines = fits and here, lines + more
    print("\n| world | work | rows | path | median us | p90 us |\n|---|---|---|---|---|---|")
    print(*lines, sep="\n")
    if options.device == "cuda":
        print_targets(lines)
    print("\nparity holds" if fits else "\nPARITY FAILS")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
