"""All measurements of a world for its manifest, and the pictures of its card.

They use a backend, so what is measured is what is served.
"""

from pathlib import Path
from typing import Any

from dreamserve.backends.base import Backend
from dreamserve.manifest import WorldSpec
from dreamserve_training.data.episodes import DataError, episode_paths
from dreamserve_training.evaluation.horizon import HORIZONS, horizon_errors
from dreamserve_training.evaluation.pictures import (
    busiest_start,
    dream_picture,
    reconstruction_picture,
)
from dreamserve_training.evaluation.prediction import ends, likelihood, rewards
from dreamserve_training.evaluation.reconstruction import (
    held_out_frames,
    load_frames,
    reconstruction,
)
from dreamserve_training.evaluation.teacher_forcing import load_latent, load_latents, teacher_force
from dreamserve_training.export.card import Picture

_KEEP_EVERY = 32  # steps between the moments that dreams start from


def measure_world(
    backend: Backend,
    spec: WorldSpec,
    raw: str | Path,
    latents: str | Path,
    frames: int = 4000,
    episodes: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the measurements of a world on held-out episodes, for `manifest.quality`.

    `raw` and `latents` are the same episodes as frames and as V's posteriors; about `frames`
    frames and the first `episodes` (all, if None) are used. Sections: reconstruction,
    salient_things, likelihood, horizon, done, and reward where the world predicts it; each is
    defined where it is computed. Raises DataError for episodes that cannot be read.
    """
    pixels, salient = reconstruction(backend, held_out_frames(raw, frames))
    real = load_latents(latents, episodes)
    runs = teacher_force(backend, spec, real, keep_every=_KEEP_EVERY, seed=seed)
    quality: dict[str, Any] = {
        "reconstruction": pixels,
        "salient_things": salient,
        "likelihood": likelihood(runs),
        "horizon": horizon_errors(backend, spec, runs, seed=seed),
        "done": ends(runs, spec.done.threshold),
    }
    if spec.reward.kind == "head":
        quality["reward"] = rewards(runs)
    return quality


def card_pictures(
    backend: Backend, spec: WorldSpec, raw: str | Path, latents: str | Path, seed: int = 0
) -> dict[str, Picture]:
    """Return the card's pictures by name: `reconstruction`, and `dream` where one fits.

    The dream follows the first held-out episode that is long enough for the strip.
    """
    pictures = {"reconstruction": reconstruction_picture(backend, held_out_frames(raw, 400))}
    long_enough = 2 * HORIZONS[-1]
    for path in episode_paths(raw):
        seen = load_frames(path)
        if len(seen) < long_enough:
            continue
        episode = load_latent(Path(latents) / path.name)
        if len(episode.mu) != len(seen):
            raise DataError(f"{path}: {len(seen)} frames but {len(episode.mu)} latents")
        start = busiest_start(seen)
        pictures["dream"] = dream_picture(backend, spec, seen, episode, start, seed)
        break
    return pictures
