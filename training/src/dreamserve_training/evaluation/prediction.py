"""How well a world predicts real episodes: likelihood, ends, rewards."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array
from dreamserve.manifest import DoneRule, WorldSpec
from dreamserve_training.evaluation.figures import rounded
from dreamserve_training.evaluation.hazard import sigmoid
from dreamserve_training.evaluation.teacher_forcing import TeacherForced

WINDOW_STEPS = 5
_LOG_2PI_E = math.log(2 * math.pi * math.e)


def likelihood(runs: Sequence[TeacherForced]) -> dict[str, Any]:
    """Return the negative log-likelihood (NLL) of the next latent, in nats per latent dimension.

    nll                 mean of -log p(z_{t+1} | z_≤t, a_≤t) / Z, z drawn from V's posterior
    floor               mean entropy of that posterior, 0.5 · log(2πe σ²) per dimension, which is
                        the lowest NLL that any model can be expected to have
    gaussian_baseline   entropy of one Gaussian per dimension, fitted to the same latents: the NLL
                        of a model that ignores the past

    All three are None if no episode has a second step.
    """
    targets_logvar = np.concatenate([run.episode.logvar[1:] for run in runs]).astype(np.float64)
    targets_mu = np.concatenate([run.episode.mu[1:] for run in runs]).astype(np.float64)
    if not len(targets_mu):
        nothing = dict.fromkeys(("nll", "floor", "gaussian_baseline"))
        return {**nothing, "steps": 0, "episodes": len(runs)}
    marginal = targets_mu.var(axis=0) + np.exp(targets_logvar).mean(axis=0)
    return {
        "nll": _rounded(float(np.concatenate([run.nll for run in runs]).mean())),
        "floor": _rounded(float(0.5 * (_LOG_2PI_E + targets_logvar).mean())),
        "gaussian_baseline": _rounded(float(0.5 * (_LOG_2PI_E + np.log(marginal)).mean())),
        "steps": len(targets_mu),
        "episodes": len(runs),
    }


def ends(runs: Sequence[TeacherForced], rule: DoneRule) -> dict[str, Any]:
    """Return how well the done logit predicts the ends of episodes at the rule's threshold.

    Of ends that are drawn, the threshold is the one with as many alarms as deaths, and `expected`
    is the sum of their probabilities.

    An alarm is a step whose logit exceeds the threshold; a death is a real terminated step.
    recall              share of deaths with an alarm at the same step
    precision           share of alarms at a death
    recall_within_5     share of deaths with an alarm at most 5 steps before
    precision_within_5  share of alarms at most 5 steps before a death
    cut_short           share of episodes with an earlier alarm, at which a dream would end but the
                        real episode continued
    average_precision, precision_at_recall_0.8: see `detection`, over all thresholds
    """
    is_drawn = rule.rule == "drawn"
    threshold = break_even_threshold(runs) if is_drawn else rule.threshold
    logits = np.concatenate([run.done_logit for run in runs])
    expected = {"expected": _rounded(float(sigmoid(logits).sum()))} if is_drawn else {}
    alarms = deaths = hits = near_hits = near_alarms = cut_short = 0
    for run in runs:
        alarm = run.done_logit > threshold
        steps = len(alarm)
        death = bool(run.episode.terminated[-1])
        near = alarm[max(0, steps - 1 - WINDOW_STEPS) :] if death else alarm[:0]
        alarms += int(alarm.sum())
        deaths += death
        hits += bool(death and alarm[-1])
        near_hits += bool(near.any())
        near_alarms += int(near.sum())
        cut_short += bool(alarm[: steps - len(near)].any())
    return {
        "recall": _share(hits, deaths),
        "precision": _share(hits, alarms),
        f"recall_within_{WINDOW_STEPS}": _share(near_hits, deaths),
        f"precision_within_{WINDOW_STEPS}": _share(near_alarms, alarms),
        "cut_short": _share(cut_short, len(runs)),
        **detection(logits, np.concatenate([run.episode.terminated for run in runs])),
        **expected,
        "alarms": alarms,
        "deaths": deaths,
        "episodes": len(runs),
    }


def detection(scores: Array, happened: npt.NDArray[Any]) -> dict[str, Any]:
    """Return how well scores (N,) rank the steps where something `happened` (N,) above the others.

    average_precision        precision, averaged over the events in the order of their scores; a
                             ranking by chance has about the events' share of all steps
    precision_at_recall_0.8  precision at the highest threshold with at least that recall

    Equal scores count as one threshold. Both are None without events.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, real = scores[order], happened[order].astype(np.float64)
    if not real.any():
        return {"average_precision": None, "precision_at_recall_0.8": None}
    last_of_equals = np.append(ranked[1:] != ranked[:-1], True)
    found = np.cumsum(real)[last_of_equals]
    alarms = np.flatnonzero(last_of_equals) + 1
    precision, recall = found / alarms, found / found[-1]
    average = float((precision * np.diff(recall, prepend=0.0)).sum())
    enough = int(np.argmax(recall >= 0.8))
    return {
        "average_precision": _rounded(average),
        "precision_at_recall_0.8": _rounded(float(precision[enough])),
    }


def signals(
    runs: Sequence[TeacherForced], spec: WorldSpec, events: Sequence[str]
) -> dict[str, Any]:
    """Return how well the signals are predicted, by name: `detection` of `events`, else errors.

    `rms_error` of a level is beside that of always predicting its mean. Unknown steps do not count,
    and signals whose real values were not loaded are left out. A level of which no step is known
    has None as its errors.
    """
    figures: dict[str, Any] = {}
    for index, signal in enumerate(spec.signals):
        if not all(signal.name in run.episode.signals for run in runs):
            continue
        real = np.concatenate([run.episode.signals[signal.name] for run in runs])
        said = np.concatenate([run.signals[index] for run in runs])[np.isfinite(real)]
        real = real[np.isfinite(real)].astype(np.float64)
        if signal.name in events:
            counts = {"events": int(real.sum()), "expected": _rounded(float(said.sum()))}
            figures[signal.name] = {**detection(said, real), **counts, "steps": len(real)}
            continue
        known = len(real) > 0
        figures[signal.name] = {
            "rms_error": rounded(_rms(said - real), 4) if known else None,
            "rms_error_of_the_mean": rounded(float(real.std()), 4) if known else None,
            "steps": len(real),
        }
    return figures


def break_even_threshold(runs: Sequence[TeacherForced]) -> float:
    """Return the threshold of the done logit at which there are as many alarms as real deaths.

    Then dreams end about as often as real episodes. It is 0 without deaths.
    """
    deaths = sum(bool(run.episode.terminated[-1]) for run in runs)
    logits = np.sort(np.concatenate([run.done_logit for run in runs]))[::-1].astype(np.float64)
    if not 0 < deaths < len(logits):
        return 0.0
    return round(float(logits[deaths - 1] + logits[deaths]) / 2, 4)


def rewards(runs: Sequence[TeacherForced]) -> dict[str, Any]:
    """Return the RMS error of the predicted reward, and of always predicting the mean reward.

    `rms` is the root mean square of the rewards themselves.
    """
    real = np.concatenate([run.episode.rewards for run in runs]).astype(np.float64)
    predicted = np.concatenate([run.reward for run in runs]).astype(np.float64)
    return {
        "rms_error": rounded(_rms(predicted - real), 4),
        "rms_error_of_the_mean": rounded(float(real.std()), 4),
        "rms": rounded(_rms(real), 4),
        "steps": len(real),
    }


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _share(part: int, whole: int) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float) -> float:
    return round(value, 4)
