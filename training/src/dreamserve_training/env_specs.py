"""What an environment tells of itself: its observation space, its limit of steps.

Everything that cannot be trained is refused here, before hours are spent, with what would be right.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from dreamserve.observations import Crop, FrameSpec, ObservationSpec, VectorSpec
from dreamserve_training.data.checks import DARK, MAX_CHANNELS, MAX_NUMBERS
from dreamserve_training.env_values import UnsupportedEnvironmentError
from dreamserve_training.envs import Env

LARGEST_SIDE = 96  # of frames, unless the recipe says another size
STEPS_WITHOUT_LIMIT = 1000  # of an episode, if neither environment nor recipe has a limit

logger = logging.getLogger("dreamserve_training")


@dataclass(frozen=True)
class Wishes:
    """What a recipe says about its environment; None: as the environment has it."""

    part: str | None = None
    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    action_names: tuple[str, ...] | None = None
    max_episode_steps: int | None = None
    observation_names: tuple[str, ...] | None = None


def observation_spec(space: gymnasium.Space[Any], wishes: Wishes, name: str) -> ObservationSpec:
    """Return how a world sees observations of `space`.

    Raises UnsupportedEnvironmentError, which says what would be right.
    """
    space = _part_of(space, wishes.part, name)
    if isinstance(space, spaces.Box) and _is_picture(space):
        if wishes.observation_names is not None:
            raise UnsupportedEnvironmentError(
                f"{name}: `observation_names` are for numbers; observations are {space}"
            )
        return _frame_spec(space, wishes, name)
    if wishes.crop is not None or wishes.size is not None:
        raise UnsupportedEnvironmentError(
            f"{name}: `crop` and `size` are for pictures; observations are {space}"
        )
    return _vector_spec(space, wishes, name)


def _part_of(space: gymnasium.Space[Any], part: str | None, name: str) -> gymnasium.Space[Any]:
    if not isinstance(space, spaces.Dict):
        if part is not None:
            raise UnsupportedEnvironmentError(
                f"{name}: part={part!r} is for Dict observations; these are {space}"
            )
        return space
    if part is None and len(space) == 1:
        return next(iter(space.values()))
    if part is None or part not in space.spaces:
        listed = ", ".join(f"{key!r}: {value}" for key, value in space.items())
        raise UnsupportedEnvironmentError(
            f"{name}: observations are a Dict; choose one by `part`: {listed}"
        )
    return space[part]


def _is_picture(space: spaces.Box) -> bool:
    """Whether a Box is pictures: bytes with two axes or more, or floats in [0, 1] with three."""
    if space.dtype == np.uint8:
        return len(space.shape) >= 2
    is_share = bool((space.low == 0).all() and (space.high == 1).all())
    return len(space.shape) >= 3 and is_share


def _frame_spec(space: spaces.Box, wishes: Wishes, name: str) -> FrameSpec:
    source = _source_shape(space.shape, name)
    _check_range(space, name)
    height, width, channels = source
    top, bottom, left, right = wishes.crop or (0, height, 0, width)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise UnsupportedEnvironmentError(
            f"{name}: crop {wishes.crop} (top, bottom, left, right) is not inside frames of"
            f" {height} x {width}"
        )
    share = min(1.0, LARGEST_SIDE / max(bottom - top, right - left))
    fitting = max(1, round((bottom - top) * share)), max(1, round((right - left) * share))
    size = wishes.size or fitting
    return FrameSpec(
        source_shape=source,
        crop=Crop(top=top, bottom=bottom, left=left, right=right),
        shape=(*size, channels),
    )


def _check_range(space: spaces.Box, name: str) -> None:
    """Refuse pictures of integers that are no bytes: they would be stored nearly black.

    They are not scaled here, because the server takes a picture's bytes as they are.
    """
    most = int(space.high.max())
    if space.dtype is None or space.dtype.kind not in "iu" or most >= DARK:
        return
    scale = 255 // max(1, most)
    raise UnsupportedEnvironmentError(
        f"{name}: pictures are {space.dtype} up to {most} of 255, which are nearly black; scale"
        f" them: gymnasium.wrappers.TransformObservation(env, lambda picture: picture * {scale},"
        f" gymnasium.spaces.Box(0, 255, {space.shape}, numpy.uint8))"
    )


def _source_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of pictures of `shape`, laid out as `envs.as_frame` says."""
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) == 3 and shape[2] <= MAX_CHANNELS:
        return shape
    if len(shape) == 3 and shape[0] <= MAX_CHANNELS:
        return (*shape[1:], shape[0])
    if len(shape) == 4 and shape[0] * shape[3] <= MAX_CHANNELS:
        return (*shape[1:3], shape[0] * shape[3])
    raise UnsupportedEnvironmentError(
        f"{name}: pictures of shape {shape} are not (H, W), (H, W, C), (C, H, W) or a stack"
        f" (K, H, W, C) with at most {MAX_CHANNELS} channels in all; gray pictures have one"
        " (gymnasium.wrappers.GrayscaleObservation)"
    )


def _vector_spec(space: gymnasium.Space[Any], wishes: Wishes, name: str) -> VectorSpec:
    if isinstance(space, spaces.Discrete):
        count, low, high = int(space.n), [0.0] * int(space.n), [1.0] * int(space.n)
        if space.start != 0:
            raise UnsupportedEnvironmentError(
                f"{name}: observations are Discrete from {space.start}; wrap the environment so"
                " that they start at 0"
            )
    elif isinstance(space, spaces.Box):
        low, high = space.low.ravel().tolist(), space.high.ravel().tolist()
        count = len(low)
    elif isinstance(space, spaces.MultiBinary):
        count = int(np.prod(space.shape))
        low, high = [0.0] * count, [1.0] * count
    elif isinstance(space, spaces.MultiDiscrete):
        count, first = space.nvec.size, space.start.ravel()
        low = first.astype(float).tolist()
        high = (first + np.maximum(1, space.nvec.ravel() - 1)).astype(float).tolist()
    else:
        raise UnsupportedEnvironmentError(
            f"{name}: observations of {space} are neither pictures nor numbers; wrap the"
            " environment, for example by gymnasium.wrappers.FlattenObservation"
        )
    if not 1 <= count <= MAX_NUMBERS:
        raise UnsupportedEnvironmentError(
            f"{name}: observations of {space} are {count} numbers; a vector has 1 to"
            f" {MAX_NUMBERS}. Pictures are uint8, or floats in [0, 1] with three axes"
        )
    names = wishes.observation_names or tuple(f"observation {i}" for i in range(count))
    if len(names) != count or len(set(names)) != count:
        raise UnsupportedEnvironmentError(
            f"{name}: observations are {count} numbers; `observation_names` must be as many"
            f" different names, not {names}"
        )
    pairs = [_bounds(*pair) for pair in zip(low, high, strict=True)]
    return VectorSpec(
        names=names,
        low=tuple(pair[0] for pair in pairs),
        high=tuple(pair[1] for pair in pairs),
    )


def _bounds(low: float, high: float) -> tuple[float | None, float | None]:
    """Return the bounds as a manifest says them: None where there is none worth the name."""
    if low >= high:
        return None, None
    return (low if low > -1e30 else None), (high if high < 1e30 else None)


def step_limit(env: Env, wishes: Wishes) -> int:
    """Return after how many steps episodes are cut: the smallest limit that is known."""
    own = [env.spec.max_episode_steps] if env.spec is not None else []
    layer = env
    while isinstance(layer, gymnasium.Wrapper):  # a limit shows in no spec if there is none below
        if isinstance(layer, TimeLimit):
            own.append(layer._max_episode_steps)  # Gymnasium shows it nowhere else
        layer = layer.env
    limits = [limit for limit in (*own, wishes.max_episode_steps) if limit and limit > 0]
    return min(limits, default=STEPS_WITHOUT_LIMIT)


def limit_as_played(
    lengths: Sequence[int], truncated: Sequence[bool], limit: int, wishes: Wishes, name: str
) -> int:
    """Return after how many steps episodes are cut, `limit` or the environment's own smaller one.

    `lengths` and `truncated` are those of the first episodes. An environment that truncates two of
    them or more, all after as many steps, has this limit, unless the recipe says another one.
    Dreams know of no other truncation, so any is logged.
    """
    seen = [length for length, is_cut in zip(lengths, truncated, strict=True) if is_cut]
    if not seen or min(seen) >= limit:
        return limit
    is_one = len(seen) > 1 and min(seen) == max(lengths)
    if is_one and wishes.max_episode_steps is None:
        logger.info("%s: truncates its episodes after %d steps, as dreams will be", name, seen[0])
        return seen[0]
    logger.warning(
        "%s: truncates episodes after %d to %d steps, which no world learns: dreams last up to %d"
        " steps; say max_episode_steps, or let what ends them be `terminated`",
        name,
        min(seen),
        max(seen),
        limit,
    )
    return limit
