"""Differences between two backends' steps, to measure the error of a lower precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Backend, Bools, Int64, State, StepInput, StepOutput
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UNIFORMS

TEMPERATURES = (0.0, 0.1, 0.5, 1.0, 1.15, 3.0)
POSITIVE_TEMPERATURES = TEMPERATURES[1:]

# A draw as close as this to the border between two components may change with the last bit.
_BORDER = 1e-3


@dataclass(frozen=True, slots=True)
class MeasuredError:
    """The worst relative differences of one step, and how often it drew another component."""

    outputs: float  # of reward, done logit, recurrent states, mixture
    latent: float  # of the latents that were drawn from the same component
    other_components: float  # share of latent numbers drawn from another component


def measured_error(
    spec: WorldSpec, reference: Backend, other: Backend, rows: int = 1024, seed: int = 0
) -> MeasuredError:
    """Return the error of one step of `other` on `rows` random dreams, against `reference`."""
    step = random_step(spec, np.random.default_rng(seed), rows, POSITIVE_TEMPERATURES)
    expected, actual = reference.step(step), other.step(step)
    # all but the latents, which are compared where both draw the same component
    pairs = zip(expected.arrays()[1:], actual.arrays()[1:], strict=True)
    drawn, near_border = drawn_choices(spec, step, expected)
    same = drawn == drawn_choices(spec, step, actual)[0]
    comparable = same & ~near_border
    return MeasuredError(
        outputs=max(relative_difference(*pair) for pair in pairs),
        latent=relative_difference(expected.latent[comparable], actual.latent[comparable]),
        other_components=float(1 - same.mean()),
    )


def relative_difference(
    expected: npt.ArrayLike, actual: npt.ArrayLike, least: float = 0.0
) -> float:
    """Return max |actual - expected| / max(|expected|, rms(expected), least); infinite for NaN."""
    expected, actual = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if not expected.size:
        return 0.0
    if not np.isfinite(actual).all():
        return float("inf")
    scale = np.maximum(np.abs(expected), max(root_mean_square(expected), least, 1e-12))
    return float((np.abs(actual - expected) / scale).max())


def root_mean_square(values: npt.NDArray[np.floating]) -> float:
    """Return the usual size of numbers, computed in float64."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def random_step(
    spec: WorldSpec,
    rng: np.random.Generator,
    batch: int,
    temperatures: Sequence[float] = TEMPERATURES,
    states: State = (),
) -> StepInput:
    """Return random inputs of one step for `batch` rows, each at one of the temperatures.

    Recurrent tensors are random rows of `states`; without, they are drawn within (-1, 1), the range
    of an LSTM's hidden state.
    """
    space = spec.action_space
    action = space.uniform(rng.random((batch, *space.shape), np.float32))
    normal = rng.standard_normal((batch, spec.noise.normal), np.float32)
    uniform = rng.uniform(*UNIFORMS, (batch, spec.noise.uniform)).astype(np.float32)
    state = random_states(spec, rng, batch, states)
    return StepInput(
        latent=rng.standard_normal((batch, spec.latent_size), np.float32),
        action=action,
        state=state,
        temperature=rng.choice(np.array(temperatures, np.float32), batch),
        noise=np.concatenate([normal, uniform], axis=1),
    )


def random_states(
    spec: WorldSpec, rng: np.random.Generator, batch: int, states: State = ()
) -> State:
    """Return recurrent tensors (B, *shape) each, as those of `random_step`."""
    if states:
        rows = rng.integers(0, len(states[0]), batch)
        return tuple(part[rows] for part in states)
    drawn = (rng.standard_normal((batch, *t.shape), np.float32) for t in spec.recurrent_state)
    return tuple(np.tanh(part) for part in drawn)


def drawn_choices(spec: WorldSpec, step: StepInput, output: StepOutput) -> tuple[Int64, Bools]:
    """Return what was drawn for each latent number (B, Z), and whether near a border, same shape.

    Assumes that choices are drawn by inverse CDF, as the manifest's noise is meant. Both are zeros
    if the world's uniform noise is neither one number nor one for each choice.
    """
    logits = spec.head.logits(output.head).astype(np.float64)
    if logits.ndim == 2:
        logits = logits[..., None]
    shape, each = step.latent.shape, spec.latent_size // logits.shape[2]
    if not spec.noise.uniform or spec.noise.uniform not in (1, logits.shape[2]):
        return np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    temperature = step.temperature.astype(np.float64)[:, None, None]
    weights = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    bounds = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    uniform = step.noise[:, None, spec.noise.normal :]
    drawn: Int64 = (uniform > bounds[:, :-1]).sum(axis=1)
    near: Bools = (np.abs(uniform - bounds[:, :-1]) < _BORDER).any(axis=1)
    return drawn.repeat(each, axis=1), near.repeat(each, axis=1)
