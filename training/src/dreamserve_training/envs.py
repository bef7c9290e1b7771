"""Real environments: how each is made, what a world sees of its observation, its actions.

The manifest takes the observation and the action space from the `EnvSpec`, so the server prepares
real observations exactly as the training data was prepared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from dreamserve.frames import crop_and_resize
from dreamserve.observations import FrameSpec, ObservationSpec
from dreamserve.spaces import ActionSpace

Env = gymnasium.Env[Any, Any]
Observed = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Record = Callable[[Env, Any], Mapping[str, float]]


class MissingEnvironmentError(ImportError):
    """The package of a real environment is not installed; the message says how to install it."""


class UnsupportedEnvironmentError(ValueError):
    """An environment that a world cannot be trained on; the message says what would be right."""


@dataclass(frozen=True)
class EnvSpec:
    """A real environment, in the terms of a manifest; `probe.probe` makes it.

    `env` is a Gymnasium id (`module:Id-v0` imports the module first) or a callable that returns an
    environment. Episodes are cut after `max_episode_steps`.
    """

    env: str | Callable[[], Env] | None  # None: only data of it, which cannot be played
    env_id: str  # its name in manifests and messages
    observation: ObservationSpec
    action_space: ActionSpace
    max_episode_steps: int
    part: str | None = None  # key in a Dict observation
    record: Record | None = None  # numbers to store with each step, for analysis
    install: str | None = None  # command that installs the environment

    def open(self) -> "RealEnv":
        """Return the environment, ready to play; MissingEnvironmentError if it is not installed."""
        if self.env is None:
            raise UnsupportedEnvironmentError(f"{self.env_id}: is recorded data; give `env`, too")
        return RealEnv(self, make_env(self.env, self.install))

    def observe(self, observation: Any) -> Observed:
        """Return what the world sees of `observation`: (H, W, C) uint8, or (n,) float32.

        Raises UnsupportedEnvironmentError for another shape than that of the spec.
        """
        seen = observation if self.part is None else observation[self.part]
        if not isinstance(self.observation, FrameSpec):
            return as_vector(seen, self.observation.shape, self.env_id)
        spec = self.observation
        frame = as_frame(seen, spec.source_shape, self.env_id)
        crop = (spec.crop.top, spec.crop.bottom, spec.crop.left, spec.crop.right)
        return crop_and_resize(frame, crop, spec.shape[:2])


class RealEnv:
    """A real environment, of which only what a world sees is shown.

    Actions are those of the spec's space: Discrete and MultiDiscrete count from 0.
    """

    def __init__(self, spec: EnvSpec, env: Env) -> None:
        self.spec, self.env = spec, env

    def reset(self, seed: int) -> Observed:
        """Begin an episode; return its first observation."""
        observation, _ = self.env.reset(seed=seed)
        return self.spec.observe(observation)

    def step(self, action: Any) -> tuple[Observed | None, float, bool, bool, dict[str, float]]:
        """Take `action`; return the observation, reward, terminated, truncated, what is recorded.

        The observation is None after the last step: a terminal one is often not a picture.
        """
        observation, reward, terminated, truncated, _ = self.env.step(
            env_action(self.env.action_space, action)
        )
        is_over = bool(terminated or truncated)
        recorded = {} if self.spec.record is None else self.spec.record(self.env, observation)
        seen = None if is_over else self.spec.observe(observation)
        return seen, float(reward), bool(terminated), bool(truncated), dict(recorded)


def make_env(env: str | Callable[[], Env], install: str | None = None) -> Env:
    """Return the environment of an id or a callable; MissingEnvironmentError without its package.

    Raises UnsupportedEnvironmentError for an id that Gymnasium does not know.
    """
    try:
        return gymnasium.make(env) if isinstance(env, str) else env()
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        hint = f"; to install it: {install}" if install else ""
        raise MissingEnvironmentError(f"{env_name(env)}: {error}{hint}") from error
    except gymnasium.error.Error as error:
        raise UnsupportedEnvironmentError(
            f"{env_name(env)}: {error}. An id of another package is written module:Id-v0"
        ) from error


def env_name(env: str | Callable[[], Env]) -> str:
    """Return the name of an environment in manifests and messages."""
    if isinstance(env, str):
        return env.rpartition(":")[2]
    return str(getattr(env, "__name__", type(env).__name__))


def env_action(space: gymnasium.Space[Any], action: Any) -> Any:
    """Return an action of the manifest's space as an action of the environment's `space`."""
    if isinstance(space, spaces.Discrete):
        return int(action) + int(space.start)
    shaped = np.asarray(action).reshape(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        shaped = shaped + space.start
    return shaped.astype(space.dtype)


def as_frame(picture: Any, shape: tuple[int, int, int], name: str) -> npt.NDArray[np.uint8]:
    """Return `picture` as a frame of `shape` (H, W, C) uint8.

    It may lack the axis of channels (H, W), have it first (C, H, W), or be a stack of pictures
    (K, H, W, C). Floats are in [0, 1].
    """
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape != shape:
        array = np.moveaxis(array, 0, -1)
    elif array.ndim == 4:
        array = np.moveaxis(array, 0, 2).reshape(*array.shape[1:3], -1)
    if array.shape != shape:
        raise UnsupportedEnvironmentError(
            f"{name}: frames must be {shape}, not {np.shape(picture)}; the environment's"
            " observation space does not say what it returns"
        )
    if array.dtype != np.uint8:
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return array


def as_vector(numbers: Any, shape: tuple[int], name: str) -> npt.NDArray[np.float32]:
    """Return `numbers`, of any shape, as a vector of `shape` (n,) float32.

    One integer becomes a vector of n numbers, 1 at its place (an observation of a Discrete space).
    """
    array = np.asarray(numbers)
    if array.ndim == 0 and np.issubdtype(array.dtype, np.integer) and shape != (1,):
        vector = np.zeros(shape, np.float32)
        vector[int(array)] = 1
        return vector
    vector = array.astype(np.float32).ravel()
    if vector.shape != shape or not np.isfinite(vector).all():
        raise UnsupportedEnvironmentError(
            f"{name}: observations must be {shape[0]} finite numbers, not {array!r}"
        )
    return vector
