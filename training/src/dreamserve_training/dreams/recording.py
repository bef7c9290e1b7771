"""Whole dreams of a bundle as episodes of observations, for datasets."""

from collections.abc import Iterator

import numpy as np

from dreamserve.engine.pixels import to_pixels
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.observations import FrameSpec
from dreamserve_protocol.policies import Policy
from dreamserve_training.data.transitions import Transitions, Values

BATCH = 16  # dreams at once; their frames are held in memory


def dream_episodes(
    world: World,
    episodes: int,
    max_steps: int,
    policy: Policy = "random",
    temperature: float = 1.0,
    seed: int = 0,
    *,
    decode: bool = True,
) -> Iterator[Transitions]:
    """Yield `episodes` dreams of at most `max_steps` steps, with decoded observations.

    Dream i is the dream of a session that is reset with the seed `seed` + i. Without `decode`, and
    for a world that cannot decode, observations are latents (T + 1, Z) float32. Raises ValueError
    for a dream that becomes NaN or infinite.
    """
    dreams = LocalClient(world, capacity=1)
    for begin in range(0, episodes, BATCH):
        seeds = seed + np.arange(begin, min(begin + BATCH, episodes))
        result = dreams.rollout(
            policy=policy,
            seeds=seeds,
            max_steps=max_steps,
            temperature=temperature,
            include=["trajectories"],
        )
        if not result.finite.all():
            number = seeds[int(np.argmin(result.finite[0]))]
            raise ValueError(f"the dream with seed {number} became NaN or infinite")
        assert result.latents is not None
        assert result.actions is not None
        assert result.rewards is not None
        for row in range(len(seeds)):
            length = int(result.lengths[0, row])
            ends = np.arange(length) == length - 1
            latents = result.latents[0, row, : length + 1]
            yield Transitions(
                observations=_observations(world, latents) if decode else latents,
                actions=result.actions[0, row, :length],
                rewards=result.rewards[0, row, :length],
                terminations=ends & bool(result.terminated[0, row]),
                truncations=ends & (not result.terminated[0, row]),
                seed=int(seeds[row]),
            )


def _observations(world: World, latents: Values) -> Values:
    """Return latents (T + 1, Z) decoded, one at a time as a session does: frames, or vectors."""
    if not world.spec.has_decode:
        return latents
    decoded = np.concatenate([world.backend.decode(latent[None]) for latent in latents])
    observation = world.spec.observation
    return to_pixels(observation, decoded) if isinstance(observation, FrameSpec) else decoded
