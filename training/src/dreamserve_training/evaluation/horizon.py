"""How far an open-loop dream strays from what really happened."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamserve.backends.base import Array, Backend
from dreamserve.manifest import WorldSpec
from dreamserve_training.evaluation.open_loop import open_loop
from dreamserve_training.evaluation.teacher_forcing import Followed

HORIZONS = (1, 5, 20, 50)


def horizon_errors(
    backend: Backend,
    spec: WorldSpec,
    followed: Sequence[Followed],
    dreams: int = 32,
    starts: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the error after k = 1, 5, 20, 50 steps: `{"k": {prediction: error}}`.

    From up to `starts` moments of real episodes (memory led there by `follow`, which must have
    kept it) the world dreams on under the real actions, ends ignored. The error of a predicted
    latent is the root mean square of its difference from the posterior's mean of the real frame,
    over starts and dimensions.

    mean_of_dreams   the mean of `dreams` dreams at T = 1: the world's expectation, but for what so
                     few leave of their spread (its root mean square / sqrt(dreams))
    one_dream        a single dream at T = 1: what a player sees; spread counts as error here
    most_likely      the dream at T = 0
    copy_last        the latent at the start, for ever
    average_latent   the mean latent of these episodes, always

    Only what the episodes are long enough for is measured; with no start at all, returns {}.
    """
    chosen = _choose(followed, starts, seed)
    if not chosen:
        return {}
    real = np.stack([walk.episode.mu[at : at + HORIZONS[-1] + 1] for walk, at in chosen])
    actions = np.stack([walk.episode.actions[at : at + HORIZONS[-1]] for walk, at in chosen])
    state = tuple(
        np.stack([walk.states[at][part] for walk, at in chosen])
        for part in range(len(spec.recurrent_state))
    )
    rng = np.random.default_rng(seed)
    hot = [open_loop(backend, spec, real[:, 0], state, actions, 1.0, rng) for _ in range(dreams)]
    cold = open_loop(backend, spec, real[:, 0], state, actions, 0.0, rng)
    mean = np.mean(hot, axis=0)
    average = np.concatenate([walk.episode.mu for walk in followed]).mean(axis=0)
    errors: dict[str, Any] = {}
    for k in HORIZONS:
        happened = real[:, k]
        single = [np.mean((dream[:, k - 1] - happened) ** 2) for dream in hot]
        errors[str(k)] = {
            "mean_of_dreams": _rms(mean[:, k - 1] - happened),
            "one_dream": round(float(np.sqrt(np.mean(single))), 4),
            "most_likely": _rms(cold[:, k - 1] - happened),
            "copy_last": _rms(real[:, 0] - happened),
            "average_latent": _rms(average - happened),
        }
    return errors


def _choose(followed: Sequence[Followed], count: int, seed: int) -> list[tuple[Followed, int]]:
    possible = [
        (walk, at)
        for walk in followed
        for at in sorted(walk.states)
        if at + HORIZONS[-1] < len(walk.episode.mu)
    ]
    picked = np.random.default_rng(seed).permutation(len(possible))[:count]
    return [possible[i] for i in sorted(picked)]


def _rms(difference: Array) -> float:
    return round(float(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))), 4)
