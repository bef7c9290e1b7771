"""What recorded data tells, in the terms of an environment, for recipes without one."""

import gymnasium
import numpy as np

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.description import Description
from dreamserve_training.data.disk import Data
from dreamserve_training.data.episodes import episode_paths, read_headers
from dreamserve_training.data.gym_spaces import renamed
from dreamserve_training.envs import EnvSpec
from dreamserve_training.probing import Wishes, observation_spec


def recorded_spec(data: Data, wishes: Wishes) -> EnvSpec:
    """Return the world of `data`: its spaces, and its longest episode as the limit of steps.

    Raises DataError for a folder without description, and UnsupportedEnvironmentError for
    `wishes` that do not fit it.
    """
    described = data.description()
    longest = max(read_headers(path)["actions"].shape[0] for path in episode_paths(data.folder))
    return EnvSpec(
        env=None,
        env_id=described.source,
        observation=observation_spec(_space(described), wishes, described.source),
        action_space=_actions(described, wishes),
        max_episode_steps=wishes.max_episode_steps or longest,
    )


def _space(described: Description) -> gymnasium.Space[np.generic]:
    shape = described.observation_shape
    if described.observation_kind == "frames":
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)


def _actions(described: Description, wishes: Wishes) -> ActionSpace:
    names = wishes.action_names
    return described.action_space if names is None else renamed(described.action_space, names)
