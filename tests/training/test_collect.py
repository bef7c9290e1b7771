"""Real episodes of Take Cover: reproducible, complete, and without the terminal frame of zeros."""

import itertools

import numpy as np
import pytest

from dreamserve_training.data.collect import CollectConfig, collect
from dreamserve_training.data.episodes import (
    DataError,
    episode_paths,
    load_episode,
    save_episode,
)
from dreamserve_training.data.policies import sticky_actions, sweep_actions
from dreamserve_training.envs import TAKE_COVER


@pytest.mark.slow
@pytest.mark.usefixtures("vizdoom")
def test_collected_episodes_match_the_game_and_a_stopped_collection_resumes(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    collect(TAKE_COVER, tmp_path, CollectConfig(episodes=3, seed=5, workers=2))
    assert not list(here.iterdir()), "the games leave their files elsewhere"
    paths = episode_paths(tmp_path)
    assert [path.name for path in paths] == [f"episode-00000{i}.npz" for i in (5, 6, 7)]
    for path in paths:
        episode = load_episode(path)
        steps = len(episode["actions"])
        assert episode["frames"].shape == (steps, 64, 64, 3)
        assert episode["frames"].reshape(steps, -1).any(axis=1).all()
        assert episode["terminated"].tolist() == [False] * (steps - 1) + [True]
        assert set(episode["rewards"].tolist()) == {1.0}

    first, last = paths[0].read_bytes(), paths[2].read_bytes()
    kept = paths[0].stat().st_mtime_ns
    paths[2].unlink()
    collect(TAKE_COVER, tmp_path, CollectConfig(episodes=3, seed=5, workers=1))
    assert paths[0].stat().st_mtime_ns == kept
    assert paths[0].read_bytes() == first
    assert load_episode(paths[2])["frames"].tobytes() == _frames(last, tmp_path)


def _frames(content, tmp_path):
    path = tmp_path / "before.npz"
    path.write_bytes(content)
    return load_episode(path)["frames"].tobytes()


def test_sticky_actions_repeat_and_cover_the_action_space():
    policy = sticky_actions(np.random.default_rng(0), 3)
    actions = [next(policy) for _ in range(3000)]
    assert set(actions) == {0, 1, 2}
    changes = sum(a != b for a, b in itertools.pairwise(actions))
    assert changes < 1000  # uniformly random ones would change 2,000 times


def test_a_sweep_moves_one_way_and_then_the_other():
    policy = sweep_actions(np.random.default_rng(0), first=2, second=1, steps=3)
    assert [next(policy) for _ in range(8)] == [2, 2, 2, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 and then nothing of use", "cannot be read"),
    ],
)
def test_a_broken_episode_file_is_refused_by_name(tmp_path, content, says):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"broken\.npz: {says}"):
        load_episode(path)


def test_an_episode_whose_arrays_differ_in_length_is_refused(tmp_path):
    save_episode(tmp_path / "e.npz", {"actions": np.zeros(3), "rewards": np.zeros(4)})
    with pytest.raises(DataError, match="must have the same length"):
        load_episode(tmp_path / "e.npz")


def test_an_empty_episode_and_an_empty_directory_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no episode"):
        episode_paths(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        episode_paths(tmp_path / "absent")
    save_episode(tmp_path / "e.npz", {"actions": np.zeros(0)})
    with pytest.raises(DataError, match="has no steps"):
        load_episode(tmp_path / "e.npz")


def test_nothing_is_left_of_an_episode_that_could_not_be_written(tmp_path):
    class Unwritable:
        def __array__(self, *args, **kwargs):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        save_episode(tmp_path / "e.npz", {"actions": Unwritable()})
    assert not list(tmp_path.glob("*.npz"))
