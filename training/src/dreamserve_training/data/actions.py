"""Check recorded actions against an action space, before a model is trained on them."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dreamserve.spaces import BoxSpace, DiscreteSpace, Space
from dreamserve_protocol.errors import InvalidActionError
from dreamserve_training.data.episodes import DataError, episode_paths, load_episode
from dreamserve_training.models.actions import ActionInput

Actions = npt.NDArray[np.generic]
_UNBOUNDED = 3e38  # the space of a continuous model whose bounds are not known


class TakesActions(Protocol):
    """What the check needs to know of a memory model."""

    action_dim: int
    action_input: ActionInput


def space_of(model: TakesActions) -> Space:
    """Return the space of the actions that `model` takes; without a space it has no bounds."""
    if model.action_input.space is not None:
        return model.action_input.space
    names = tuple(str(index) for index in range(model.action_dim))
    bound = (_UNBOUNDED,) * model.action_dim
    return BoxSpace(low=tuple(-value for value in bound), high=bound, names=names)


def check_actions(actions: Actions, space: Space, where: object) -> None:
    """Raise DataError, which names `where` and the step, for actions (T, …) outside `space`."""
    try:
        _, inside = space.check_rows(actions)
    except InvalidActionError as error:
        raise DataError(f"{where}: actions: {error}{_shape_hint(actions, space)}") from error
    if not inside.all():
        step = int(np.argmin(inside))
        hint = _count_hint(actions, space)
        raise DataError(f"{where}: actions[{step}] = {actions[step]} is not in {space}{hint}")


def check_directory_actions(directory: str | Path, space: Space) -> None:
    """Raise DataError for the first episode of `directory` with actions outside `space`."""
    for path in episode_paths(directory):
        check_actions(load_episode(path, ("actions",))["actions"], space, path)


def as_actions(
    actions: Actions, space: Space | None = None
) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    """Return recorded actions as models take them: integers as int64, others as float32.

    Those of a Box are float32, also where they are stored as integers.
    """
    if actions.dtype.kind in "biu" and not isinstance(space, BoxSpace):
        return actions.astype(np.int64)
    return actions.astype(np.float32)


def _shape_hint(actions: Actions, space: Space) -> str:
    if space.dtype is np.int64 and actions.dtype.kind == "f":
        return "; store choices as integers; or are these numbers of a Box, for another model?"
    if not space.shape and actions.ndim == 2 and actions.shape[1] == 1:
        return "; store them without the last axis, actions[:, 0]"
    if space.shape == (1,) and actions.ndim == 1:
        return "; store them with a last axis, actions[:, None]"
    return ""


def _count_hint(actions: Actions, space: Space) -> str:
    if isinstance(space, DiscreteSpace) and actions.min() == 1 and actions.max() == space.n:
        return "; do they count from 1? Store them from 0"
    return ""
