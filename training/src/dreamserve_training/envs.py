"""Real environments: how each is made, what a world sees of its observation, its actions.

The manifest takes the observation and the action space from the `EnvSpec`, so the server prepares
real observations exactly as the training data was prepared.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamserve.frames import crop_and_resize
from dreamserve.observations import FrameSpec, ObservationSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.env_values import (
    Observed,
    UnsupportedEnvironmentError,
    as_flag,
    as_frame,
    as_number,
    as_vector,
)
from dreamserve_training.runs.signals import Stopped

Env = gymnasium.Env[Any, Any]
Record = Callable[[Env, Any], Mapping[str, float]]


class MissingEnvironmentError(ImportError):
    """The package of a real environment is not installed; the message says how to install it."""


class FailedEnvironmentError(ValueError):
    """An environment, or a function of the recipe, that raised an error; the message says where."""


@contextmanager
def running(what: str, *passed: type[Exception]) -> Iterator[None]:
    """Raise FailedEnvironmentError, which begins with `what`, for an error of the user's code.

    `sys.exit()` is one, too: it would end the run as if it were done. Errors that are `passed`, and
    the signals that stop a run, stay as they are.
    """
    try:
        yield
    except Stopped:
        raise
    except passed:
        raise
    except (Exception, SystemExit) as error:
        last = extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        place = f"({last.filename}, line {last.lineno})"
        raise FailedEnvironmentError(f"{what}: {told} {place}{_advice(error)}") from error


def _advice(error: BaseException) -> str:
    """Return how to name a file that is not found from a worker's working directory."""
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    if not isinstance(name, str) or Path(name).is_absolute():
        return ""
    return (
        "; environments run in folders of their own: name files by the recipe's, as"
        f" Path(__file__).parent / {name!r}"
    )


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

    def observe(self, observation: Any, where: str | None = None) -> Observed:
        """Return what the world sees of `observation`: (H, W, C) uint8, or (n,) float32.

        Raises UnsupportedEnvironmentError, which names `where`, for another shape than that of the
        spec, and for numbers that are no picture or not finite.
        """
        where = where or self.env_id
        try:
            seen = observation if self.part is None else observation[self.part]
        except (KeyError, IndexError, TypeError) as error:
            raise UnsupportedEnvironmentError(
                f"{where}: the observation has no part {self.part!r}: {observation!r}"
            ) from error
        if not isinstance(self.observation, FrameSpec):
            return as_vector(seen, self.observation.shape, where)
        spec = self.observation
        frame = as_frame(seen, spec.source_shape, where)
        crop = (spec.crop.top, spec.crop.bottom, spec.crop.left, spec.crop.right)
        return crop_and_resize(frame, crop, spec.shape[:2])


class RealEnv:
    """A real environment, of which only what a world sees is shown.

    Actions are those of the spec's space: Discrete and MultiDiscrete count from 0. Errors name the
    episode's seed and the step: FailedEnvironmentError for what the environment or `record` raises,
    UnsupportedEnvironmentError for values that cannot be trained on.
    """

    def __init__(self, spec: EnvSpec, env: Env) -> None:
        self.spec, self.env = spec, env
        self.seed, self.steps = 0, 0  # of the episode, and taken in it
        self.is_cut = False  # the environment has truncated the episode

    def reset(self, seed: int) -> Observed:
        """Begin an episode; return its first observation."""
        self.seed, self.steps, self.is_cut = seed, 0, False
        with running(self.place()):
            observation, _ = self.env.reset(seed=seed)
        return self.spec.observe(observation, self.place())

    def step(self, action: Any) -> tuple[Observed | None, float, bool, bool, dict[str, float]]:
        """Take `action`; return the observation, reward, terminated, truncated, what is recorded.

        The observation is None after the last step: a terminal one is often not a picture.
        """
        self.steps += 1
        place, recorded = self.place(), {}
        with running(place):
            observation, reward, terminated, truncated, _ = self.env.step(
                env_action(self.env.action_space, action)
            )
            if self.spec.record is not None:
                recorded = dict(self.spec.record(self.env, observation))
        earned = as_number(reward, f"{place}: the reward")
        terminates, is_cut = (
            as_flag(flag, f"{place}: {name}")
            for name, flag in (("terminated", terminated), ("truncated", truncated))
        )
        self.is_cut = is_cut and not terminates
        is_over = terminates or is_cut
        seen = None if is_over else self.spec.observe(observation, place)
        return seen, earned, terminates, is_cut, recorded

    def place(self) -> str:
        """Return the episode's seed and the step, for messages."""
        moment = f"step {self.steps}" if self.steps else "the beginning"
        return f"{self.spec.env_id}, {moment} of the episode with seed {self.seed}"


def make_env(env: str | Callable[[], Env], install: str | None = None) -> Env:
    """Return the environment of an id or a callable; MissingEnvironmentError without its package.

    Raises UnsupportedEnvironmentError for an id that Gymnasium does not know and for a callable
    that returns something else, and FailedEnvironmentError for any other error.
    """
    try:
        with running(env_name(env), ImportError, gymnasium.error.Error):
            made = gymnasium.make(env) if isinstance(env, str) else env()
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        hint = f"; to install it: {install}" if install else ""
        raise MissingEnvironmentError(f"{env_name(env)}: {error}{hint}") from error
    except gymnasium.error.Error as error:
        raise UnsupportedEnvironmentError(
            f"{env_name(env)}: {error}. An id of another package is written module:Id-v0"
        ) from error
    if not isinstance(made, gymnasium.Env):
        raise UnsupportedEnvironmentError(
            f"{env_name(env)}: is {made!r}, not a gymnasium.Env; `env` is an id, or a callable that"
            " returns an environment of Gymnasium's interface"
        )
    with running(env_name(env)):  # they may be computed, or missing
        _ = made.observation_space, made.action_space
    return made


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
    cast = shaped.astype(space.dtype)
    if isinstance(space, spaces.Box):  # a bound that float32 rounds outwards
        cast = np.clip(cast, space.low, space.high)
    return cast
