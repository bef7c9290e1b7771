"""Prove that exported files compute what was trained.

Outputs are compared step by step from the same inputs, along a dream of the reference: states,
actions and temperatures are random and include T = 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from dreamserve.backends.accuracy import random_step, relative_difference
from dreamserve.backends.base import Array, Backend, StepInput, StepOutput
from dreamserve.manifest import WorldSpec
from dreamserve_training.export.errors import ExportError

TOLERANCE = 1e-4  # relative
BATCHES = (1, 3, 64)
STEPS = 4
IDENTITY_ROWS = 1024
IDENTITY_BATCHES = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 256, 500, 512, 1023)
_EDGE = 1e-3


def check_parity(
    spec: WorldSpec, reference: Backend, others: Mapping[str, Backend], seed: int = 0
) -> dict[str, float]:
    """Return each of `others`' worst relative difference from `reference`.

    Raises ExportError when an answer is not finite or differs by more than TOLERANCE; it names
    the output, and says so when two recurrent tensors are swapped.
    """
    worst = dict.fromkeys(others, 0.0)
    for name, other in others.items():
        for output, difference in _differences(spec, reference, other, name, seed):
            if difference > TOLERANCE:
                raise ExportError(
                    f"{name} differs from {reference.name} by {difference:.2g} (relative) in"
                    f" {output}; at most {TOLERANCE:g} is allowed"
                )
            worst[name] = max(worst[name], difference)
    return worst


def same_in_every_batch(spec: WorldSpec, backend: Backend, seed: int = 0) -> bool:
    """Return whether each row's step is the same to the bit, whatever the size of its batch."""
    rows = random_step(spec, np.random.default_rng(seed), IDENTITY_ROWS)
    together = outputs_by_name(spec, backend.step(rows))
    for size in IDENTITY_BATCHES:
        for begin in (0, IDENTITY_ROWS - size):
            part = outputs_by_name(spec, backend.step(_rows(rows, slice(begin, begin + size))))
            for name, expected in together.items():
                if part[name].tobytes() != expected[begin : begin + size].tobytes():
                    return False
    return True


def _differences(
    spec: WorldSpec, reference: Backend, other: Backend, name: str, seed: int
) -> Iterator[tuple[str, float]]:
    rng = np.random.default_rng(seed)
    for batch in BATCHES:
        frames = rng.uniform(*spec.frame.value_range, (batch, *spec.frame.shape))
        frames = frames.astype(np.float32)
        latent = rng.standard_normal((batch, spec.latent_size), np.float32)
        for output, right, answer in zip(
            ("mu", "logvar"), reference.encode(frames), other.encode(frames), strict=True
        ):
            yield output, _checked_difference(name, output, right, answer)
        pictures = reference.decode(latent), other.decode(latent)
        yield "frames", _checked_difference(name, "frames", *pictures)
        yield from _step_differences(spec, reference, other, name, batch, rng)


def _step_differences(
    spec: WorldSpec,
    reference: Backend,
    other: Backend,
    name: str,
    batch: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, float]]:
    state = None
    for _ in range(STEPS):
        step = random_step(spec, rng, batch)
        if state is not None:
            step = replace(step, state=state)
        expected, got = reference.step(step), other.step(step)
        right, answer = outputs_by_name(spec, expected), outputs_by_name(spec, got)
        _refuse_swapped(spec, name, right, answer)
        is_decided = ~_on_an_edge(spec, step, expected)
        for output in right:
            pair = right[output], answer[output]
            if output == "next_latent":
                if not np.isfinite(pair[1]).all():
                    raise ExportError(f"{name}: {output} holds NaN or infinity")
                pair = pair[0][is_decided], pair[1][is_decided]
            yield output, _checked_difference(name, output, *pair)
        state = expected.state


def _checked_difference(name: str, output: str, right: Array, answer: Array) -> float:
    if answer.shape != right.shape:
        raise ExportError(f"{name}: {output} is {answer.shape}, must be {right.shape}")
    if not (np.isfinite(answer).all() and np.isfinite(right).all()):
        raise ExportError(f"{name}: {output} holds NaN or infinity")
    return relative_difference(right, answer)


def _refuse_swapped(
    spec: WorldSpec, name: str, right: dict[str, Array], answer: dict[str, Array]
) -> None:
    names = [f"next_{tensor.name}" for tensor in spec.recurrent_state]
    for first, second in combinations(names, 2):
        crossed = ((first, second), (second, first))
        same = [_alike(right[mine], right[other]) for mine, other in crossed]
        if not any(same) and all(_alike(right[mine], answer[other]) for mine, other in crossed):
            raise ExportError(f"{name}: {first} and {second} are swapped")


def _alike(expected: Array, actual: Array) -> bool:
    return expected.shape == actual.shape and relative_difference(expected, actual) <= TOLERANCE


def _on_an_edge(spec: WorldSpec, step: StepInput, answer: StepOutput) -> npt.NDArray[np.bool_]:
    """Return where (B, Z) rounding may change which component is drawn: no comparison is possible.

    The draw jumps where a uniform number meets the cumulative weights; at T = 0 it jumps where
    the two best components tie.
    """
    logits = answer.mixture_logits.astype(np.float64)
    if logits.shape[1] == 1 or not spec.noise.uniform:
        return np.zeros(step.latent.shape, np.bool_)
    if logits.ndim == 2:
        logits = logits[..., None]
    is_zero = step.temperature == 0
    temperature = np.where(is_zero, 1.0, step.temperature).astype(np.float64)[:, None, None]
    weights = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    bounds = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    uniform = step.noise[:, None, spec.noise.normal :]
    near_bound = (np.abs(uniform - bounds[:, :-1]) < _EDGE).any(axis=1)
    ranked = np.sort(logits, axis=1)
    tie = ranked[:, -1] - ranked[:, -2] < _EDGE
    edge = np.where(is_zero[:, None], tie, near_bound)
    return np.broadcast_to(edge, step.latent.shape)


def outputs_by_name(spec: WorldSpec, output: StepOutput) -> dict[str, Array]:
    """Return a step's outputs by the manifest's names."""
    values: Sequence[Array] = (
        output.latent,
        output.reward,
        output.done_logit,
        *output.state,
        output.mixture_logits,
        output.mixture_mu,
        output.mixture_log_sigma,
    )
    return dict(zip(spec.step_outputs(), values, strict=True))


def _rows(step: StepInput, rows: slice) -> StepInput:
    return StepInput(
        step.latent[rows],
        step.action[rows],
        tuple(part[rows] for part in step.state),
        step.temperature[rows],
        step.noise[rows],
    )
