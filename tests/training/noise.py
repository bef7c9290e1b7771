"""A game of noise, for tests of who plays and what is recorded."""

import gymnasium
import numpy as np

from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.envs import EnvSpec


class Noise(gymnasium.Env):
    """A game of noise, until chance ends it."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame(), {}

    def step(self, action):
        return self._frame(), 1.0, bool(self.np_random.random() < 0.03), False, {}

    def _frame(self):
        return self.np_random.integers(1, 256, (64, 64, 3), dtype=np.uint8)


NOISE = EnvSpec(
    env=Noise,
    env_id="Noise",
    observation=FrameSpec(
        source_shape=(64, 64, 3),
        crop=Crop(top=0, bottom=64, left=0, right=64),
        shape=(64, 64, 3),
    ),
    action_space=DiscreteSpace(n=3, names=("a", "b", "c")),
    max_episode_steps=30,
)
