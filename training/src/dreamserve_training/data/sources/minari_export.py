"""Write episodes as a dataset of Minari's local store."""

import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dreamserve.spaces import Space
from dreamserve_training.data.actions import as_actions, check_actions
from dreamserve_training.data.checks import load_raw_episode
from dreamserve_training.data.description import read_description
from dreamserve_training.data.episodes import DataError, episode_paths
from dreamserve_training.data.gym_spaces import to_gymnasium
from dreamserve_training.data.sources.minari_source import minari_module
from dreamserve_training.data.transitions import Transitions, Values, from_episode


def recorded_episodes(directory: str | Path) -> Iterator[Transitions]:
    """Yield the raw episodes of `directory` with all observations; DataError if one is invalid."""
    for path in episode_paths(directory):
        transitions = from_episode(load_raw_episode(path)[0], path)
        if transitions is not None:
            yield transitions


def described_space(directory: str | Path, action_space: Space | None) -> Space:
    """Return `action_space`, or that of the directory's description; DataError without both."""
    described = read_description(directory)
    if action_space is not None:
        return action_space
    if described is None:
        raise DataError(f"{directory}: nothing says which actions are possible; give --actions")
    return described.action_space


def write_minari(
    dataset_id: str,
    episodes: Iterable[Transitions],
    action_space: Space,
    *,
    description: str,
    algorithm: str,
) -> int:
    """Write `episodes` as the new Minari dataset `dataset_id`; return how many there were.

    Frames are stored without loss, a chunk of episodes at a time. Raises DataError for an id that
    is malformed or taken and for actions outside `action_space`, ValueError for no episodes, and
    ImportError without Minari; the dataset then does not exist.
    """
    minari = minari_module()
    path = _free_path(dataset_id)
    written = 0
    dataset: Any = None
    try:
        with warnings.catch_warnings():
            # Minari warns of metadata that a local dataset has no use for
            warnings.filterwarnings("ignore", category=UserWarning, module="minari")
            for number, episode in enumerate(episodes):
                check_actions(episode.actions, action_space, f"episode {number}")
                buffer = [_buffer(episode, number)]
                if dataset is None:
                    dataset = minari.create_dataset_from_buffers(
                        dataset_id,
                        buffer,
                        observation_space=_observation_space(episode.observations),
                        action_space=to_gymnasium(action_space),
                        data_format="hdf5",
                        jpeg_encoding=False,
                        description=description,
                        algorithm_name=algorithm,
                        author="dreamserve",
                        author_email="",
                    )
                else:
                    dataset.update_dataset_from_buffer(buffer)
                written += 1
        if not written:
            raise ValueError("there are no episodes to write")
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return written


def _free_path(dataset_id: str) -> Path:
    from minari.dataset.minari_dataset import parse_dataset_id  # an extra
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{dataset_id!r} is no Minari id: it must be like takecover/dreams-v0"
        ) from error
    path = Path(get_dataset_path(dataset_id))
    if path.exists():
        raise DataError(f"Minari has a dataset {dataset_id!r} at {path}; choose another version")
    return path


def _buffer(episode: Transitions, number: int) -> Any:
    from minari.data_collector import EpisodeBuffer  # an extra

    return EpisodeBuffer(
        id=number,
        seed=episode.seed,
        observations=episode.observations,
        actions=as_actions(episode.actions),
        rewards=episode.rewards,
        terminations=episode.terminations,
        truncations=episode.truncations,
        infos={},
    )


def _observation_space(observations: Values) -> gymnasium.Space[Any]:
    shape, dtype = observations.shape[1:], observations.dtype
    if dtype == np.uint8:
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
