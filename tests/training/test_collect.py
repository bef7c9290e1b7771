"""Real episodes of Take Cover: reproducible, complete, and without the terminal frame of zeros."""

import itertools
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest

from dreamserve.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace
from dreamserve_training.data.collect import CollectConfig, collect
from dreamserve_training.data.episodes import (
    DataError,
    episode_paths,
    load_episode,
    save_episode,
)
from dreamserve_training.data.policies import repeated_sequence, sticky_actions
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe


@pytest.mark.slow
@pytest.mark.usefixtures("vizdoom")
def test_collected_episodes_match_the_game_and_a_stopped_collection_resumes(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    game = probe(load_recipe("takecover")).env
    collect(game, tmp_path, CollectConfig(episodes=2, seed=5, workers=2))
    assert not list(here.iterdir()), "the games leave their files elsewhere"
    paths = episode_paths(tmp_path)
    assert [path.name for path in paths] == [f"episode-00000{i}.npz" for i in (5, 6)]
    for path in paths:
        episode = load_episode(path)
        steps = len(episode["actions"])
        assert episode["frames"].shape == (steps, 64, 64, 3)
        assert episode["frames"].reshape(steps, -1).any(axis=1).all()
        assert episode["terminated"].tolist() == [False] * (steps - 1) + [True]
        assert set(episode["rewards"].tolist()) == {1.0}

    first, last = paths[0].read_bytes(), paths[1].read_bytes()
    kept = paths[0].stat().st_mtime_ns
    paths[1].unlink()
    collect(game, tmp_path, CollectConfig(episodes=2, seed=5, workers=1))
    assert paths[0].stat().st_mtime_ns == kept
    assert paths[0].read_bytes() == first
    assert load_episode(paths[1])["frames"].tobytes() == _frames(last, tmp_path)


def _frames(content, tmp_path):
    path = tmp_path / "before.npz"
    path.write_bytes(content)
    return load_episode(path)["frames"].tobytes()


def taken(policy, count):
    return [next(policy) for _ in range(count)]


def test_sticky_actions_repeat_and_cover_the_action_space():
    space = DiscreteSpace(n=3, names=("a", "b", "c"))
    actions = taken(sticky_actions(np.random.default_rng(0), space, 4.0, 64.0), 3000)
    assert set(actions) == {0, 1, 2}
    changes = sum(a != b for a, b in itertools.pairwise(actions))
    assert changes < 1000  # uniformly random ones would change 2,000 times


def test_each_component_of_an_action_has_its_own_duration():
    space = MultiDiscreteSpace(nvec=(3, 5), names=("a", "b"))
    actions = np.array(taken(sticky_actions(np.random.default_rng(1), space, 8.0, 8.0), 4000))
    assert space.check_rows(actions)[1].all()
    assert [set(column) for column in actions.T.tolist()] == [set(range(3)), set(range(5))]
    changed = np.diff(actions, axis=0) != 0
    # a new choice every 8 steps, and it differs from the old one in 2 of 3 and in 4 of 5 cases
    np.testing.assert_allclose(changed.mean(axis=0), [2 / 3 / 8, 4 / 5 / 8], rtol=0.25)
    assert changed.all(axis=1).mean() < 0.05


@pytest.mark.parametrize("mean_steps", [1.0, 20.0])
def test_noise_in_a_box_is_uniform_within_its_bounds_and_correlated_over_time(mean_steps):
    space = BoxSpace(low=(-2.0, 0.0), high=(2.0, 7.5), names=("torque", "gas"))
    policy = sticky_actions(np.random.default_rng(0), space, mean_steps, mean_steps)
    actions = np.array(taken(policy, 20_000))
    assert space.check_rows(actions)[1].all()
    shares = (actions - [-2.0, 0.0]) / [4.0, 7.5]
    np.testing.assert_allclose(
        np.quantile(shares, [0.1, 0.5, 0.9], axis=0).T, [[0.1, 0.5, 0.9]] * 2, atol=0.05
    )
    kept = np.corrcoef(shares[1:, 0], shares[:-1, 0])[0, 1]
    assert abs(kept - (0.0 if mean_steps == 1.0 else np.exp(-1 / mean_steps))) < 0.05


def _bytes(save, *arrays, **named):
    with BytesIO() as file:
        save(file, *arrays, **named)
        return file.getvalue()


def _zipped(name, content):
    with BytesIO() as file:
        with ZipFile(file, "w") as archive:
            archive.writestr(name, content)
        return file.getvalue()


def test_a_sequence_is_repeated():
    policy = repeated_sequence(np.random.default_rng(0), None, [2, 2, 2, 1, 1, 1])
    assert taken(policy, 8) == [2, 2, 2, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 and then nothing of use", "cannot be read"),
        (_bytes(np.save, np.arange(3)), "cannot be read"),
        (_bytes(np.savez_compressed, actions=np.arange(999))[:-400] + b"x" * 400, "cannot be read"),
        (_zipped("note.txt", b"read me"), r"note\.txt: is not an array"),
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
