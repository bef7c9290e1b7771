"""M's state, carried from an episode's window to the next one in training, without gradient.

It is part of the batch, `state.0`, `state.1`, … (B, …), so a row of a batch keeps its own.
"""

from itertools import count, takewhile

from torch import Tensor

from dreamserve_training.data.episodes import DataError
from dreamserve_training.data.sequences import Item
from dreamserve_training.models.world_model import State, WorldModel


class CarriedState:
    """The states after the windows of the last batch, by the numbers of their episodes."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self._rows: dict[int, int] = {}  # episode → row of the last batch
        self._state: State = ()

    def give(self, batch: Item) -> None:
        """Add to `batch` each row's state: the initial one, or that after the window before.

        Raises DataError if the window before was not in the last batch.
        """
        if "episode" not in batch:
            raise DataError(f"carry_state needs windows of episodes on disk, {_HINT}")
        starts, episodes = batch["start"].tolist(), batch["episode"].tolist()
        if len(set(episodes)) != len(episodes):
            raise DataError(f"carry_state needs windows of different episodes in a batch, {_HINT}")
        state = [part.clone() for part in self._model.initial_state(len(starts), batch["z"])]
        going = [row for row, start in enumerate(starts) if not start]
        if missing := [episodes[row] for row in going if episodes[row] not in self._rows]:
            raise DataError(f"episode {missing[0]}: carry_state needs windows in order, {_HINT}")
        before = [self._rows[episodes[row]] for row in going]
        for part, last in zip(state, self._state, strict=False):
            part[going] = last[before].to(part)
        for index, part in enumerate(state):
            batch[f"state.{index}"] = part

    def keep(self, batch: Item, state: State) -> None:
        """Remember the states (B, …) after the windows of `batch`."""
        self._rows = {number: row for row, number in enumerate(batch["episode"].tolist())}
        self._state = tuple(part.detach() for part in state)


def state_in(batch: Item) -> tuple[Tensor, ...] | None:
    """Return the state that was given to `batch`; None if there is none."""
    names = takewhile(lambda name: name in batch, (f"state.{index}" for index in count()))
    state = tuple(batch[name] for name in names)
    return state or None


_HINT = "as create_window_loader(in_order=True) returns them"
