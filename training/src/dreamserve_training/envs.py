"""The real environments: how each is made, and which part of its observation a world sees.

The manifest takes the camera's shape and crop from the `EnvSpec`, so the server preprocesses real
frames exactly as the training data was preprocessed.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve.frames import crop_and_resize


class MissingEnvironmentError(ImportError):
    """The package of a real environment is not installed; the message says how to install it."""


@dataclass(frozen=True)
class EnvSpec:
    """A real environment with Discrete actions and frames as observations.

    Raises ValueError if `idle` or `opposed` names an action that is not in `action_names`.
    """

    env_id: str
    action_names: tuple[str, ...]
    frame_shape: tuple[int, int, int]  # (H, W, C) of the camera, uint8
    crop: tuple[int, int, int, int]  # top, bottom, left, right
    size: tuple[int, int]  # (height, width) of the frame that the world sees
    max_episode_steps: int
    module: str | None = None  # import it to register `env_id`
    extra: str | None = None  # extra of dreamserve-training that installs `module`
    frame_key: str | None = None  # key in a dict observation; None: the observation is the frame
    health_key: str | None = None  # key in a dict observation; the first number is the health
    idle: str | None = None  # the action that does nothing, if any
    opposed: tuple[str, str] | None = None  # actions that undo each other, for sweeping baselines

    def __post_init__(self) -> None:
        named = [name for name in (self.idle, *(self.opposed or ())) if name is not None]
        if unknown := sorted(set(named) - set(self.action_names)):
            raise ValueError(f"{self.env_id}: {unknown} are not among {self.action_names}")

    def make(self) -> gymnasium.Env[Any, Any]:
        """Return the Gymnasium environment; MissingEnvironmentError if its package is missing."""
        if self.module is not None:
            try:
                import_module(self.module)
            except ImportError as error:
                hint = f": pip install 'dreamserve-training[{self.extra}]'" if self.extra else ""
                message = f"{self.env_id} needs {self.module}{hint}"
                raise MissingEnvironmentError(message) from error
        return gymnasium.make(self.env_id)

    def frame_of(self, observation: Any) -> npt.NDArray[np.uint8]:
        """Return the frame in `observation`, cropped and resized: (height, width, C) uint8."""
        camera = observation if self.frame_key is None else observation[self.frame_key]
        if camera.shape != self.frame_shape:
            raise ValueError(
                f"{self.env_id}: frames must be {self.frame_shape}, not {camera.shape}"
            )
        return crop_and_resize(camera, self.crop, self.size)

    def health_of(self, observation: Any) -> float:
        """Return the health in `observation`; NaN for an environment without health."""
        return float("nan") if self.health_key is None else float(observation[self.health_key][0])


TAKE_COVER = EnvSpec(
    env_id="VizdoomTakeCover-v1",
    action_names=("noop", "right", "left"),
    frame_shape=(240, 320, 3),
    crop=(40, 200, 0, 320),  # without the ceiling and the player's hands
    size=(64, 64),
    max_episode_steps=2100,  # the paper's limit; the environment itself has none
    module="vizdoom.gymnasium_wrapper",
    extra="vizdoom",
    frame_key="screen",
    health_key="gamevariables",
    idle="noop",
    opposed=("left", "right"),
)
