"""How far a backend's step is from another's: what a coarser arithmetic costs, measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Backend, Bools, Int64, StepInput, StepOutput
from dreamserve.manifest import WorldSpec

TEMPERATURES = (0.0, 0.1, 0.5, 1.0, 1.15, 3.0)  # of every kind that there is a rule for
WARM = TEMPERATURES[1:]

# So close to where the draw jumps to another component, the last bit may decide.
_EDGE = 1e-3


@dataclass(frozen=True, slots=True)
class MeasuredError:
    """The worst relative differences of one step, and how often it drew another component."""

    answers: float  # reward, done logit, recurrent states, mixture
    latent: float  # the latents that were drawn from the same component
    other_draws: float  # the share of latent numbers that were not


def measured_error(
    spec: WorldSpec, reference: Backend, other: Backend, rows: int = 1024, seed: int = 0
) -> MeasuredError:
    """Compare one step of `rows` random dreams, answer by answer, with the reference's."""
    step = random_step(spec, np.random.default_rng(seed), rows, WARM)
    expected, got = reference.step(step), other.step(step)
    right, answer = _continuous(expected), _continuous(got)
    worst = max(relative_difference(*pair) for pair in zip(right, answer, strict=True))
    drawn, edge = drawn_component(spec, step, expected)
    same = drawn == drawn_component(spec, step, got)[0]
    clear = np.broadcast_to(same & ~edge, expected.latent.shape)
    return MeasuredError(
        answers=worst,
        latent=relative_difference(expected.latent[clear], got.latent[clear]),
        other_draws=float(1 - same.mean()),
    )


def relative_difference(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Return max |actual - expected| / max(|expected|, rms(expected)); infinite for NaN."""
    right, answer = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if not right.size:
        return 0.0
    if not np.isfinite(answer).all():
        return float("inf")
    scale = np.maximum(np.abs(right), max(float(np.sqrt(np.mean(right**2))), 1e-12))
    return float((np.abs(answer - right) / scale).max())


def random_step(
    spec: WorldSpec,
    rng: np.random.Generator,
    batch: int,
    temperatures: Sequence[float] = TEMPERATURES,
) -> StepInput:
    """Return random inputs of one step for `batch` rows, each at one of the temperatures.

    Recurrent tensors are drawn within (-1, 1), which any LSTM's may be.
    """
    space = spec.action_space
    action = space.uniform(rng.random((batch, *space.shape), np.float32))
    normal = rng.standard_normal((batch, spec.noise.normal), np.float32)
    uniform = rng.uniform(2**-25, 1 - 2**-25, (batch, spec.noise.uniform)).astype(np.float32)
    states = (rng.standard_normal((batch, *t.shape), np.float32) for t in spec.recurrent_state)
    return StepInput(
        latent=rng.standard_normal((batch, spec.latent_size), np.float32),
        action=action,
        state=tuple(np.tanh(state) for state in states),
        temperature=rng.choice(np.array(temperatures, np.float32), batch),
        noise=np.concatenate([normal, uniform], axis=1),
    )


def drawn_component(spec: WorldSpec, step: StepInput, output: StepOutput) -> tuple[Int64, Bools]:
    """Return which component was drawn, (B, 1 or Z), and where that was a near thing.

    By inverse CDF, as the manifest's noise is meant: a world that draws in another way is
    compared as if it drew in this one.
    """
    logits = output.mixture_logits.astype(np.float64)
    if logits.ndim == 2:
        logits = logits[..., None]  # (B, K, 1 or Z)
    if not spec.noise.uniform or spec.noise.uniform not in (1, logits.shape[2]):
        shape = len(logits), 1
        return np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    hot = step.temperature.astype(np.float64)[:, None, None]
    weights = np.exp((logits - logits.max(axis=1, keepdims=True)) / hot)
    bounds = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    uniform = step.noise[:, None, spec.noise.normal :]
    drawn: Int64 = (uniform > bounds[:, :-1]).sum(axis=1)
    near: Bools = (np.abs(uniform - bounds[:, :-1]) < _EDGE).any(axis=1)
    return drawn, near


def _continuous(output: StepOutput) -> tuple[Array, ...]:
    return (
        output.reward,
        output.done_logit,
        *output.state,
        output.mixture_logits,
        output.mixture_mu,
        output.mixture_log_sigma,
    )
