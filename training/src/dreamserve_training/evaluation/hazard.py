"""How dangerous dreams are: expected ends and events of signals by age, against the real ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Backend
from dreamserve.manifest import WorldSpec
from dreamserve_training.evaluation.figures import rounded
from dreamserve_training.evaluation.open_loop import open_loop_steps
from dreamserve_training.evaluation.teacher_forcing import TeacherForced, states_at

ALL_AGES = "all ages"
BANDS = 4  # of ages, with about as many real steps in each
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Event:
    """Something that happens in a step, or does not."""

    name: str
    probability: Callable[[Array, Sequence[Array]], Float64]  # of done logits (B,) and signals
    real: Callable[[TeacherForced], Float64]  # (T,): 1 where it happened, NaN where unknown


def hazard(
    backend: Backend,
    spec: WorldSpec,
    runs: Sequence[TeacherForced],
    events: Sequence[Event],
    horizon: int = 100,
    starts: int = 4096,
    seed: int = 0,
) -> dict[str, Any]:
    """Return rates per 1,000 steps: `{"EVENT, steps A to B": {"real": …, …}}`, by age in steps.

    A row "EVENT, all ages" follows those of an event.

    real                real events, with their `standard_error` (of a Poisson count)
    expected            the sum of M's probabilities along the same real episodes, by what M sees
    real_of_dreamed     real events in the steps that dreams go through, next, weighted alike
    dreamed             the same expectation in dreams at T = 1, without seeing: begun at up to
                        `starts` real moments, spread over all ages, and driven by the real actions
                        for up to `horizon` steps or to the real episode's end. Each step counts by
                        the probability that the dream has not ended before. So does its real
                        event, or a perfect world would seem safer than reality: where danger is
                        great, fewer dreams are left to count it
    dreamed_over_real   their ratio: below 1, dreams are safer than the real environment

    Events that are neither real nor expected are left out.
    """
    moments = _moments(runs, starts, seed)
    if not moments or not events:
        return {}
    edges = _edges(runs)
    known = _sums(edges, _seen(runs, events), len(events))
    dreamed = _sums(edges, _dreamed(backend, spec, moments, events, horizon, seed), len(events))
    rows = {}
    for index, event in enumerate(events):
        if not known[index][:, 1:].any():  # neither real nor expected anywhere
            continue
        for band, (first, last) in enumerate(pairwise(edges)):
            name = f"{event.name}, steps {first} to {last - 1}"
            rows[name] = _row(known[index, band], dreamed[index, band])
        rows[f"{event.name}, {ALL_AGES}"] = _row(*(sums[index].sum(0) for sums in (known, dreamed)))
    return rows


# Of one event in N steps: its index; then ages, weights, probabilities, what was real, (N,) each
Steps = tuple[int, npt.NDArray[np.int64], Float64, Float64, Float64]


def _seen(runs: Sequence[TeacherForced], events: Sequence[Event]) -> Iterator[Steps]:
    for run in runs:
        ages = np.arange(len(run.done_logit))
        for index, event in enumerate(events):
            real = event.real(run)
            is_known = np.isfinite(real)
            probability = event.probability(run.done_logit, run.signals)
            ones = np.ones(int(is_known.sum()))
            yield index, ages[is_known], ones, probability[is_known], real[is_known]


def _dreamed(
    backend: Backend,
    spec: WorldSpec,
    moments: Sequence[tuple[TeacherForced, int]],
    events: Sequence[Event],
    horizon: int,
    seed: int,
) -> Iterator[Steps]:
    ages = np.array([at for _, at in moments])
    left = np.array([len(run.done_logit) - at for run, at in moments])
    longest = int(min(horizon, left.max()))
    first = np.stack([run.episode.mu[at] for run, at in moments])
    state = states_at(spec, moments)
    actions = np.stack([_actions(run, at, longest) for run, at in moments])
    real = [[event.real(run) for run, _ in moments] for event in events]
    alive, rng = np.ones(len(moments)), np.random.default_rng(seed)
    outputs = open_loop_steps(backend, spec, first, state, actions, 1.0, rng)
    for step, output in enumerate(outputs):
        going = np.flatnonzero(left > step)
        for index, event in enumerate(events):
            happened = np.array([real[index][row][ages[row] + step] for row in going])
            is_known = np.isfinite(happened)
            rows = going[is_known]
            probability = event.probability(output.done_logit, output.signals)[rows]
            yield index, ages[rows] + step, alive[rows], probability, happened[is_known]
        alive = alive * (1 - end_probability(spec, output.done_logit))


def end_probability(spec: WorldSpec, logits: Array) -> Float64:
    """Return the probability that a dream ends by the world's own rule, given logits (B,)."""
    if spec.done.rule == "threshold":
        ends: Float64 = (logits > spec.done.threshold).astype(np.float64)
        return ends
    return sigmoid(logits)


def sigmoid(logits: Array) -> Float64:
    """Return the probabilities of logits, without overflow."""
    probabilities: Float64 = 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))
    return probabilities


def events_of(spec: WorldSpec, done_positive: float, names: Sequence[str]) -> list[Event]:
    """Return the events of a world: ends, and the signals called `names`.

    An end cut at a threshold has a second row with the probability that M gives to it, the weight
    `done_positive` of ends in training undone.
    """

    def died(run: TeacherForced) -> Float64:
        return run.episode.terminated.astype(np.float64)

    found = [Event("end", lambda logits, _: end_probability(spec, logits), died)]
    if spec.done.rule == "threshold":
        offset = np.float32(np.log(done_positive))
        found.append(Event("end by probability", lambda z, _: sigmoid(z - offset), died))
    for index, signal in enumerate(spec.signals):
        if signal.name in names:
            found.append(_signal_event(index, signal.name))
    return found


def _signal_event(index: int, name: str) -> Event:
    return Event(
        name,
        lambda _, signals: signals[index].astype(np.float64),
        lambda run: run.episode.signals[name].astype(np.float64),
    )


def _sums(edges: Sequence[int], parts: Iterator[Steps], events: int) -> Float64:
    """Return (events, bands, 3) sums of steps, real and expected events, by the steps' weights."""
    sums = np.zeros((events, len(edges) - 1, 3))
    for index, ages, weights, probability, real in parts:
        band = np.searchsorted(edges, ages, side="right") - 1
        for column, value in enumerate((weights, weights * real, weights * probability)):
            np.add.at(sums[index, :, column], band, value)
    return sums


def _row(known: Float64, dreamed: Float64) -> dict[str, Any]:
    ratio = None if dreamed[1] == 0 else rounded(float(dreamed[2] / dreamed[1]))
    return {
        "real": _rate(known[1], known[0]),
        "standard_error": _rate(sqrt(known[1]), known[0]),
        "expected": _rate(known[2], known[0]),
        "real_of_dreamed": _rate(dreamed[1], dreamed[0]),
        "dreamed": _rate(dreamed[2], dreamed[0]),
        "dreamed_over_real": ratio,
    }


def _rate(events: float, steps: float) -> float | None:
    return rounded(1000 * float(events) / float(steps)) if steps else None


def _edges(runs: Sequence[TeacherForced]) -> list[int]:
    """Return the bands' borders, (BANDS + 1,) or fewer: quantiles of the ages of all real steps."""
    ages = np.concatenate([np.arange(len(run.done_logit)) for run in runs])
    inner = np.quantile(ages, np.linspace(0, 1, BANDS + 1)[1:-1]).round().astype(int)
    return sorted({0, *inner.tolist(), int(ages.max()) + 1})


def _moments(
    runs: Sequence[TeacherForced], count: int, seed: int
) -> list[tuple[TeacherForced, int]]:
    possible = [(run, at) for run in runs for at in (0, *sorted(run.states))]
    picked = np.random.default_rng(seed).permutation(len(possible))[:count]
    return [possible[index] for index in sorted(picked)]


def _actions(run: TeacherForced, at: int, steps: int) -> npt.NDArray[Any]:
    """Return `steps` real actions; after the episode's end, which do not count, its last one."""
    taken = run.episode.actions[at : at + steps]
    return np.concatenate([taken, np.repeat(taken[-1:], steps - len(taken), axis=0)])
