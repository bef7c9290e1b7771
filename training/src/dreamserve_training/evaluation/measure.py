"""All measurements of a world for its manifest, and the pictures of its card.

They run on a backend, so they measure the world that is served.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamserve.backends.base import Backend
from dreamserve.manifest import WorldSpec
from dreamserve.observations import FrameSpec
from dreamserve_training.data.checks import load_frames
from dreamserve_training.data.episodes import DataError, Folders, episode_paths
from dreamserve_training.data.signals import Signals
from dreamserve_training.evaluation.hazard import ALL_AGES, events_of, hazard
from dreamserve_training.evaluation.horizon import HORIZONS, horizon_errors
from dreamserve_training.evaluation.pictures import (
    busiest_start,
    dream_picture,
    reconstruction_picture,
)
from dreamserve_training.evaluation.prediction import ends, likelihood, rewards
from dreamserve_training.evaluation.prediction import signals as signal_figures
from dreamserve_training.evaluation.reconstruction import (
    held_out_frames,
    reconstruction,
)
from dreamserve_training.evaluation.teacher_forcing import (
    LatentEpisode,
    load_latent,
    load_latents,
    teacher_force,
)
from dreamserve_training.export.card import Picture

_KEEP_EVERY = 32  # steps between the starts of open-loop dreams


def measure_world(
    backend: Backend,
    spec: WorldSpec,
    raw: Folders,
    latents: Folders,
    frames: int = 4000,
    episodes: int | None = None,
    seed: int = 0,
    signals: Signals | None = None,
    done_positive: float = 1.0,
) -> dict[str, Any]:
    """Return the measurements of a world on held-out episodes, for `manifest.quality`.

    `raw` and `latents` are folders of the same episodes, as observed and as V's posteriors.
    About `frames` frames and the first `episodes` (default: all) are used. Sections: reconstruction
    and salient_things of a world that sees frames, likelihood, horizon, done, hazard, signals and
    reward if the world predicts them; the functions that compute them define them.

    `signals` are those of the world, by what they are made of; those left out are not measured.
    `done_positive` is the weight of ends in training, of a world whose ends are cut at a threshold.

    Raises DataError for episodes that cannot be read.
    """
    quality: dict[str, Any] = {}
    if isinstance(spec.observation, FrameSpec):
        pixels, salient = reconstruction(backend, held_out_frames(raw, frames))
        quality |= {"reconstruction": pixels, "salient_things": salient}
    memory = measure_memory(backend, spec, latents, episodes, seed, signals, done_positive)
    return {**quality, **memory}


def measure_memory(
    backend: Backend,
    spec: WorldSpec,
    latents: Folders,
    episodes: int | None = None,
    seed: int = 0,
    signals: Signals | None = None,
    done_positive: float = 1.0,
) -> dict[str, Any]:
    """Return the measurements of M alone; the arguments are those of `measure_world`."""
    signals = signals or {}
    real = load_latents(latents, episodes, signals)
    runs = teacher_force(backend, spec, real, keep_every=_steps_between(real), seed=seed)
    quality: dict[str, Any] = {
        "likelihood": likelihood(runs),
        "horizon": horizon_errors(backend, spec, runs, seed=seed),
        "done": ends(runs, spec.done),
    }
    events = [name for name, signal in signals.items() if signal.form != "level"]
    happening = events_of(spec, done_positive, events)
    quality["hazard"] = hazard(backend, spec, runs, happening, seed=seed)
    if signals:
        quality["signals"] = signal_figures(runs, spec, events)
    if spec.reward.kind == "head":
        quality["reward"] = rewards(runs)
    return quality


def memory_figures(quality: Mapping[str, Any]) -> dict[str, float]:
    """Return M's key figures, of its measurements: those that there are."""
    ends = quality["hazard"].get(f"end, {ALL_AGES}", {})
    figures = {
        "NLL of M": quality["likelihood"]["nll"],
        "precision of ends at recall 0.8": quality["done"]["precision_at_recall_0.8"],
        "ends dreamed over real": ends.get("dreamed_over_real"),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _steps_between(episodes: Sequence[LatentEpisode]) -> int:
    """Return the steps between starts: fewer where most episodes are too short for several."""
    typical = int(np.median([len(episode.mu) for episode in episodes]))
    return _KEEP_EVERY if typical >= 2 * _KEEP_EVERY else max(1, typical // 4)


def card_pictures(
    backend: Backend, spec: WorldSpec, raw: Folders, latents: Folders, seed: int = 0
) -> dict[str, Picture]:
    """Return the card's pictures by name: `reconstruction`, and `dream` if it is possible.

    A world that sees vectors has none. The dream is of the first held-out episode that
    is long enough. Raises DataError.
    """
    if not isinstance(spec.observation, FrameSpec):
        return {}
    pictures = {"reconstruction": reconstruction_picture(backend, held_out_frames(raw, 400))}
    min_steps = 2 * HORIZONS[-1]
    for path, encoded in zip(episode_paths(raw), episode_paths(latents), strict=True):
        frames = load_frames(path)
        if len(frames) < min_steps:
            continue
        episode = load_latent(encoded)
        if len(episode.mu) != len(frames):
            raise DataError(f"{path}: {len(frames)} frames but {len(episode.mu)} latents")
        start = busiest_start(frames)
        pictures["dream"] = dream_picture(backend, spec, frames, episode, start, seed)
        break
    return pictures
