"""Checks of a world's graphs: shapes, finite outputs, sampling, temperature, batches."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dreamserve import noise
from dreamserve.backends.accuracy import random_step
from dreamserve.backends.base import Array, State, StepInput
from dreamserve.conformance.draws import likeliest
from dreamserve.conformance.subject import at, named, taken
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve.observations import FrameSpec
from dreamserve_training.export.parity import (
    TOLERANCE,
    bank_states,
    check_parity,
    dreamt_states,
    outputs_of,
    random_inputs,
    same_in_every_batch,
)
from dreamserve_training.validation.report import CheckFailed

BATCHES = (1, 2, 3, 7, 64, 256)
DRAWS = 8192
_ROUNDING = 1e-12  # variance of the outputs' rounding
STANDARD_ERRORS = 6.0  # exceeded by chance once in a billion


def shapes(world: World) -> str:
    """Check all outputs' shapes and dtypes against the manifest, at several batch sizes."""
    spec, rng, states = world.spec, np.random.default_rng(0), bank_states(world.spec, world.bank)
    for batch in BATCHES:
        step = named(spec, world.backend.step(random_step(spec, rng, batch, states=states)))
        found_by_graph = other_outputs(world, batch, rng, states) | {"step": step}
        for (graph, name), expected in _expected_shapes(spec).items():
            found = found_by_graph[graph][name]
            if found.shape != (batch, *expected) or found.dtype != np.float32:
                raise CheckFailed(
                    f"{name} is {found.shape} {found.dtype}, must be {(batch, *expected)} float32"
                )
    return f"batches {', '.join(map(str, BATCHES))}"


def finite(world: World) -> str:
    """Check that random inputs give finite outputs."""
    rng, rows, states = np.random.default_rng(1), 0, states_of(world)
    for _ in range(8):
        step = random_step(world.spec, rng, 256, states=states)
        _check_finite(named(world.spec, world.backend.step(step)), "random inputs")
        rows += 256
    return f"{rows} random steps"


def extremes(world: World) -> str:
    """Check that inputs far outside those of dreams give finite outputs, and frames in range."""
    spec, rng = world.spec, np.random.default_rng(2)
    steps = 0
    for step in _extreme_steps(spec, random_step(spec, rng, 16, states=states_of(world))):
        _check_finite(named(spec, world.backend.step(step)), "extreme inputs")
        steps += len(step.latent)
    if isinstance(spec.observation, FrameSpec):
        _check_extreme_frames(world, spec.observation, rng)
    return f"{steps} steps at T from 0 to 100, latents scaled by up to 100, states by 50"


def _check_extreme_frames(world: World, frame: FrameSpec, rng: np.random.Generator) -> None:
    spec, (low, high) = world.spec, frame.value_range
    state = tuple(np.zeros((2, *t.shape), np.float32) for t in spec.recurrent_state)
    for value in (low, high):
        frames = np.full((2, *frame.shape), value, np.float32)
        posterior = world.backend.encode(frames, state if spec.encode_memory else ())
        by_name = dict(zip(spec.graph_outputs()["encode"], posterior, strict=True))
        _check_finite(by_name, f"a frame of {value:g}s")
    if not spec.has_decode:
        return
    latents = rng.standard_normal((16, spec.latent_size), np.float32) * np.float32(100)
    decoded = world.backend.decode(latents)
    _check_finite({"frames": decoded}, "latents multiplied by 100")
    if decoded.min() < low - 1e-4 or decoded.max() > high + 1e-4:
        raise CheckFailed(f"decoded frames are not within [{low:g}, {high:g}]")


def sampling(world: World) -> str:
    """Check that latents drawn at T = 1 have the mean and variance that the step predicts."""
    rng, worst, states = np.random.default_rng(3), 0.0, states_of(world)
    for row in range(3):
        one = random_step(world.spec, rng, 1, states=states)
        output = world.backend.step(_repeated(world.spec, one, temperature=1.0, seed=row))
        mean, variance = world.spec.head.moments(output.head)
        draws = output.latent.astype(np.float64)
        spread = np.square(draws - mean)
        # Numbers that hardly vary are compared as they are.
        errors = np.concatenate(
            [
                (draws.mean(axis=0) - mean) / np.sqrt(variance / DRAWS + _ROUNDING),
                (spread.mean(axis=0) - variance) / np.sqrt(spread.var(axis=0) / DRAWS + _ROUNDING),
            ]
        )
        worst = max(worst, float(np.abs(errors).max()))
    if worst > STANDARD_ERRORS:
        raise CheckFailed(f"mean or variance is off by {worst:.1f} standard errors")
    return f"{3 * DRAWS} draws; mean and variance off by at most {worst:.1f} standard errors"


def temperature(world: World) -> str:
    """Check that T = 0 gives the most likely component's mean, and that spread grows with T."""
    rng = np.random.default_rng(4)
    step = random_step(world.spec, rng, 64, states=states_of(world))
    at_zero = world.backend.step(replace(step, temperature=np.zeros(64, np.float32)))
    peak, _ = likeliest(world.spec, at_zero)
    error = float(np.abs(at_zero.latent - peak).max())
    if error > 1e-5:
        raise CheckFailed(f"at T = 0 latents are {error:.2g} off the most likely component's mean")
    if world.spec.temperature_rule == "weights_only":
        return "T = 0 gives the most likely mean; the rule weights_only keeps sigma"
    spreads = [
        float(
            np.abs(world.backend.step(replace(step, temperature=temperature)).latent - peak).mean()
        )
        for temperature in (np.full(64, t, np.float32) for t in (1e-6, 0.1, 1.0))
    ]
    if not spreads == sorted(spreads):
        raise CheckFailed(f"the spread does not grow with T: {spreads}")
    return f"T = 0 gives the most likely mean; mean distance at T = 1: {spreads[-1]:.2f}"


def independent_rows(world: World) -> str:
    """Check that each row's step is bit-identical in every batch."""
    if not same_in_every_batch(world.spec, world.backend, states=states_of(world)):
        raise CheckFailed("a row's outputs depend on the other rows of its batch")
    return "bit-identical in batches of 1 to 1024"


def parity(world: World, other: World) -> str:
    """Check that two backends of one world agree within the tolerance."""
    name = other.backend.name
    others, states = {name: other.backend}, states_of(world)
    worst = check_parity(world.spec, world.backend, others, states=states)[name]
    return f"{name} against {world.backend.name}: {worst:.1e} relative, at most {TOLERANCE:g}"


def states_of(world: World) -> State:
    """Return recurrent tensors that its dreams pass through."""
    return dreamt_states(world.spec, world.backend, world.bank)


def other_outputs(
    world: World, batch: int, rng: np.random.Generator, states: State
) -> dict[GraphName, dict[str, Array]]:
    """Return outputs of all graphs but `step` for random inputs, by graph and name."""
    spec, backend = world.spec, world.backend
    found: dict[GraphName, dict[str, Array]] = {}
    for graph, names in spec.graph_outputs().items():
        if graph != "step":
            outputs = outputs_of(backend, graph, random_inputs(spec, graph, batch, rng, states))
            found[graph] = dict(zip(names, outputs, strict=True))
    return found


def _expected_shapes(spec: WorldSpec) -> dict[tuple[GraphName, str], tuple[int, ...]]:
    return {
        (graph, name): shape
        for graph, outputs in spec.graph_outputs().items()
        for name, shape in outputs.items()
    }


def _check_finite(outputs: dict[str, Array], cause: str) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise CheckFailed(f"{cause}: {name} holds NaN or infinity")


def _extreme_steps(spec: WorldSpec, step: StepInput) -> Iterator[StepInput]:
    rows, normal = len(step.latent), spec.noise.normal
    for scale in (0.0, 10.0, 100.0):
        yield replace(step, latent=step.latent * np.float32(scale))
    for scale in (0.0, 50.0):  # by sign as they occur: no count is below 0
        yield replace(step, state=tuple(part * np.float32(scale) for part in step.state))
    for temperature in (0.0, 1e-30, 1e-6, 100.0):
        yield replace(step, temperature=np.full(rows, temperature, np.float32))
    largest = np.float32(noise.NORMAL_QUANTILES[-1])
    for sign, uniform in zip((-1, 1), noise.UNIFORMS, strict=True):
        numbers = np.full_like(step.noise, uniform)
        numbers[:, :normal] = sign * largest
        yield replace(step, noise=numbers)


def _repeated(spec: WorldSpec, one: StepInput, temperature: float, seed: int) -> StepInput:
    """Return the single row of `one` repeated DRAWS times, each time with other noise."""
    seeds = np.arange(DRAWS, dtype=np.uint64) + np.uint64(seed * DRAWS)
    keys = noise.keys(seeds, np.zeros(DRAWS, np.int64), noise.SAMPLE)
    rows = at(taken(one, np.zeros(DRAWS, np.int64)), temperature)
    return replace(rows, noise=noise.draw(keys, spec.noise.normal, spec.noise.uniform))
