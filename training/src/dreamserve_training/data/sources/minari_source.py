"""Minari datasets (Farama), read from the local store, with their spaces."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamserve.spaces import Space
from dreamserve_training.data.episodes import DataError
from dreamserve_training.data.gym_spaces import from_gymnasium
from dreamserve_training.data.sources.flat import Named, part_of
from dreamserve_training.data.sources.forms import to_episode


def minari_module() -> Any:
    """Return the module; ImportError, which says how to install it, if it is missing."""
    try:
        import minari  # an extra
    except ImportError as error:
        message = "Minari datasets need minari: pip install 'dreamserve-training[minari]'"
        raise ImportError(message) from error
    return minari


class MinariSource:
    """The dataset `dataset_id` of Minari's local store; `observation` names a part of a Dict."""

    def __init__(self, dataset_id: str, observation: str | None = None) -> None:
        minari = minari_module()
        try:
            self.dataset = minari.load_dataset(dataset_id)
        except FileNotFoundError as error:
            raise DataError(
                f"no Minari dataset {dataset_id!r} on this machine: minari download {dataset_id}"
            ) from error
        self.where = f"minari:{dataset_id}"
        self.observation = observation
        self._space, self._start = from_gymnasium(self.dataset.action_space, self.where)

    @property
    def action_space(self) -> Space | None:
        """The actions' space; None if its bounds are infinite."""
        return self._space

    def __iter__(self) -> Iterator[Named]:
        for episode in self.dataset:
            where = f"{self.where}, episode {episode.id}"
            parts = {
                "observations": np.asarray(part_of(episode.observations, self.observation, where)),
                "actions": np.asarray(episode.actions) - self._start,
                "rewards": np.asarray(episode.rewards),
                "terminated": np.asarray(episode.terminations),
            }
            yield Named(where, to_episode(parts, where), ends_acted_in=True)
