"""Latent episodes of random numbers, for tests of M's training."""

import numpy as np

from dreamserve_training.data.episodes import save_episode

Z_DIM = 4


def save_latents(path, rng, steps, logvar):
    """Write an episode of `steps` steps, at whose last one it ends."""
    episode = {
        "mu": rng.normal(size=(steps, Z_DIM)).astype(np.float16),
        "logvar": np.full((steps, Z_DIM), logvar, np.float16),
        "actions": rng.integers(3, size=steps),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "terminated": np.arange(steps) == steps - 1,
    }
    save_episode(path, episode)
