"""An environment's actions as a manifest's; what cannot be planned is refused."""

from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import ValidationError

from dreamserve.spaces import (
    ActionSpace,
    BoxSpace,
    DiscreteSpace,
    MultiBinarySpace,
    MultiDiscreteSpace,
    Space,
)
from dreamserve_training.data.gym_spaces import MAX_ACTIONS
from dreamserve_training.env_specs import Wishes
from dreamserve_training.env_values import UnsupportedEnvironmentError
from dreamserve_training.envs import Env, running

AnySpace = TypeVar("AnySpace", bound=Space)


def action_spec(space: gymnasium.Space[Any], env: Env, wishes: Wishes, name: str) -> ActionSpace:
    """Return the actions of `space`, with names.

    Raises UnsupportedEnvironmentError, which says what would be right.
    """
    if isinstance(space, spaces.Discrete):
        count = int(space.n)
        with running(f"{name}: its names of actions"):
            meanings = _meanings(env, count)
        names = _names(wishes, count, name, meanings)
        return _made(DiscreteSpace, name, n=count, names=names)
    if isinstance(space, spaces.Box):
        return _box(space, wishes, name)
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1:
        nvec = tuple(map(int, space.nvec))
        names = _names(wishes, len(nvec), name)
        return _made(MultiDiscreteSpace, name, nvec=nvec, names=names)
    if isinstance(space, spaces.MultiBinary):
        count = int(np.prod(space.shape))
        return _made(MultiBinarySpace, name, n=count, names=_names(wishes, count, name))
    raise UnsupportedEnvironmentError(
        f"{name}: actions of {space}; a world takes Discrete, Box, MultiDiscrete (one axis) or"
        " MultiBinary. Wrap the environment so that one of them is its action space"
    )


def _box(space: spaces.Box, wishes: Wishes, name: str) -> BoxSpace:
    low, high = space.low.ravel().tolist(), space.high.ravel().tolist()
    names = _names(wishes, len(low), name)
    if not np.issubdtype(space.dtype, np.floating):
        raise UnsupportedEnvironmentError(
            f"{name}: actions are {space.dtype} in a Box; whole numbers are a MultiDiscrete space"
        )
    for component, bounds in zip(names, zip(low, high, strict=True), strict=True):
        if bounds[0] >= bounds[1]:
            raise UnsupportedEnvironmentError(
                f"{name}: {component} is in [{bounds[0]:g}, {bounds[1]:g}], which leaves nothing to"
                " choose. Wrap the environment by gymnasium.wrappers.TransformAction, which adds"
                " what never changes"
            )
        if not np.isfinite(bounds).all() or max(map(abs, bounds)) > 1e30:
            raise UnsupportedEnvironmentError(
                f"{name}: {component} is in [{bounds[0]:g}, {bounds[1]:g}]; actions need finite"
                " bounds. Wrap the environment, with the numbers that make sense:"
                " gymnasium.wrappers.TransformAction(env, lambda action: action,"
                " gymnasium.spaces.Box(low, high))"
            )
    return _made(BoxSpace, name, low=tuple(low), high=tuple(high), names=names)


def _made(kind: type[AnySpace], name: str, **fields: Any) -> AnySpace:
    try:
        return kind(**fields)
    except ValidationError as error:
        reasons = "; ".join(part["msg"] for part in error.errors())
        raise UnsupportedEnvironmentError(
            f"{name}: these actions are not possible: {reasons}"
        ) from error


def _names(
    wishes: Wishes, count: int, name: str, own: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    if not 1 <= count <= MAX_ACTIONS:
        raise UnsupportedEnvironmentError(
            f"{name}: {count} actions, or parts of one; a world has 1 to {MAX_ACTIONS}. Wrap the"
            " environment so that an action is fewer choices, such as a MultiDiscrete"
        )
    names = wishes.action_names or own or tuple(f"action {i}" for i in range(count))
    if len(names) != count:
        raise UnsupportedEnvironmentError(
            f"{name}: {count} actions, or parts of one, but {len(names)} action_names: {names}"
        )
    return tuple(names)


def _meanings(env: Env, count: int) -> tuple[str, ...] | None:
    """Return the names that the environment gives its actions (Atari's do), if it has them."""
    meanings = getattr(env.unwrapped, "get_action_meanings", None)
    names = tuple(str(meaning).lower() for meaning in meanings()) if meanings else ()
    return names if len(names) == count else None
