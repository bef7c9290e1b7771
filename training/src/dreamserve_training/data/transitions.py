"""An episode with every observation, the last included, as Gymnasium and Minari have it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.checks import observation_field
from dreamserve_training.data.episodes import Episode

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Transitions:
    """T steps: `actions[t]` is taken in `observations[t]` and leads to `observations[t + 1]`."""

    observations: Values  # (T + 1, …)
    actions: Values  # (T,) or (T, A)
    rewards: Values  # (T,)
    terminations: Values  # (T,) bool
    truncations: Values  # (T,) bool
    seed: int | None = None


def from_episode(episode: Episode, where: object) -> Transitions | None:
    """Return a stored episode, whose last observation was not kept, with all observations.

    If the episode terminated, the last observation is repeated: what follows an end has no value.
    If it was cut off, its last action is left out; None if nothing then remains.
    """
    observations = episode[observation_field(episode, where)]
    terminated = bool(episode["terminated"][-1])
    if terminated:
        observations = np.concatenate([observations, observations[-1:]])
    steps = len(observations) - 1
    if steps == 0:
        return None
    ends = np.arange(steps) == steps - 1
    return Transitions(
        observations=observations,
        actions=episode["actions"][:steps],
        rewards=episode["rewards"][:steps].astype(np.float32),
        terminations=ends & terminated,
        truncations=ends & (not terminated),
    )
