"""The real environments: how each is made, which part of its observation is the frame.

An `EnvSpec` is what the manifest later says of the world's origin, so the server prepares a real
frame exactly as the data was prepared.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve.frames import crop_and_resize


class MissingEnvironmentError(ImportError):
    """The package of a real environment is not installed; the message names the extra."""


@dataclass(frozen=True)
class EnvSpec:
    """A real environment with Discrete actions and a camera."""

    env_id: str
    action_names: tuple[str, ...]
    frame_shape: tuple[int, int, int]  # H, W, C of the camera, uint8
    crop: tuple[int, int, int, int]  # top, bottom, left, right
    size: tuple[int, int]  # height, width of the frame that the world sees
    max_episode_steps: int

    def make(self) -> gymnasium.Env[Any, Any]:
        """Make the real environment, without a step limit of its own."""
        if self.env_id.startswith("Vizdoom"):
            try:
                from vizdoom import gymnasium_wrapper  # noqa: F401  (registers the environments)
            except ImportError as error:
                raise MissingEnvironmentError(
                    f"{self.env_id} needs ViZDoom: pip install 'dreamserve-training[vizdoom]'"
                ) from error
        return gymnasium.make(self.env_id)

    def frame_of(self, observation: Any) -> npt.NDArray[np.uint8]:
        """Return the frame (height, width, C) uint8 that the world sees of `observation`."""
        camera = observation["screen"] if isinstance(observation, dict) else observation
        if camera.shape != self.frame_shape:
            raise ValueError(
                f"{self.env_id}: the camera gave {camera.shape}, expected {self.frame_shape}"
            )
        return crop_and_resize(camera, self.crop, self.size)


TAKE_COVER = EnvSpec(
    env_id="VizdoomTakeCover-v1",
    action_names=("noop", "right", "left"),
    frame_shape=(240, 320, 3),
    crop=(40, 200, 0, 320),  # the ceiling and the player's own hands say nothing
    size=(64, 64),
    max_episode_steps=2100,  # the paper's limit; the environment itself has none
)
