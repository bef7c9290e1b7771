"""The error of open-loop dreams against real episodes, by number of steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamserve.backends.accuracy import root_mean_square
from dreamserve.backends.base import Array, Backend
from dreamserve.manifest import WorldSpec
from dreamserve_training.data.actions import as_actions
from dreamserve_training.evaluation.open_loop import open_loop
from dreamserve_training.evaluation.teacher_forcing import TeacherForced, states_at

HORIZONS = (1, 5, 20, 50)


def horizon_errors(
    backend: Backend,
    spec: WorldSpec,
    runs: Sequence[TeacherForced],
    dreams: int = 32,
    starts: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the errors after k = 1, 5, 20, 50 steps: `{"k": {prediction: error}}`.

    If no episode is long enough for the last of them, they are left out.

    The world dreams under the real actions from up to `starts` steps of real episodes, with the
    states that `teacher_force` kept there; ends are ignored. The error of a predicted latent is
    the root mean square of its difference from the posterior's mean of the real frame, over starts
    and dimensions. Predictions:

    mean_of_dreams   the mean of `dreams` dreams at T = 1, an estimate of the world's expectation;
                     its standard error is the dreams' standard deviation / sqrt(dreams)
    one_dream        a single dream at T = 1, whose noise counts as error
    most_likely      the dream at T = 0
    copy_last        the latent at the start
    average_latent   the mean latent of these episodes

    A start needs as many later steps in its episode; without any start the result is {}.
    """
    longest, points = 0, []
    for longest in reversed(HORIZONS):
        if points := _choose_starts(runs, starts, seed, longest):
            break
    if not points:
        return {}
    real = np.stack([run.episode.mu[at : at + longest + 1] for run, at in points])
    average = np.concatenate([run.episode.mu for run in runs]).mean(axis=0)
    *samples, most_likely = _dreams(backend, spec, points, longest, [1.0] * dreams + [0.0], seed)
    mean = np.mean(samples, axis=0)
    errors: dict[str, Any] = {}
    for k in [k for k in HORIZONS if k <= longest]:
        actual = real[:, k]
        single = [np.mean((dream[:, k - 1] - actual) ** 2) for dream in samples]
        errors[str(k)] = {
            "mean_of_dreams": _rms(mean[:, k - 1] - actual),
            "one_dream": round(float(np.sqrt(np.mean(single))), 4),
            "most_likely": _rms(most_likely[:, k - 1] - actual),
            "copy_last": _rms(real[:, 0] - actual),
            "average_latent": _rms(average - actual),
        }
    return errors


def _dreams(
    backend: Backend,
    spec: WorldSpec,
    points: Sequence[tuple[TeacherForced, int]],
    steps: int,
    temperatures: Sequence[float],
    seed: int,
) -> list[Array]:
    """Return the latents (N, `steps`, Z) of dreams from `points`, at each of `temperatures`."""
    first = np.stack([run.episode.mu[at] for run, at in points])
    actions = as_actions(np.stack([run.episode.actions[at : at + steps] for run, at in points]))
    state = states_at(spec, points)
    rng = np.random.default_rng(seed)
    return [open_loop(backend, spec, first, state, actions, t, rng) for t in temperatures]


def _choose_starts(
    runs: Sequence[TeacherForced], count: int, seed: int, longest: int
) -> list[tuple[TeacherForced, int]]:
    possible = [
        (run, at) for run in runs for at in sorted(run.states) if at + longest < len(run.episode.mu)
    ]
    picked = np.random.default_rng(seed).permutation(len(possible))[:count]
    return [possible[i] for i in sorted(picked)]


def _rms(difference: Array) -> float:
    return round(root_mean_square(difference), 4)
