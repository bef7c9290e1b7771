"""Minari datasets in, dreams and recorded episodes out."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from typer.testing import CliRunner

from dreamserve.local import LocalClient
from dreamserve_training.cli import app
from dreamserve_training.data.description import read_description
from dreamserve_training.data.episodes import DataError, episode_paths, load_episode, save_episode
from dreamserve_training.data.gym_spaces import from_gymnasium, to_gymnasium
from dreamserve_training.data.sources.minari_export import write_minari
from dreamserve_training.data.transitions import Transitions
from dreamserve_training.tools.dataset_utils import validate_dataset

T = 5


@pytest.fixture
def minari(tmp_path, monkeypatch):
    """Return the module, with a local store of its own."""
    module = pytest.importorskip("minari", reason="pip install 'dreamserve-training[minari]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return module


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception:
        raise result.exception
    return result.output


def recorded(observations, actions):
    """Return two episodes of T steps: one that terminates, one that is cut off."""
    ends = np.arange(T) == T - 1
    none = np.zeros(T, bool)
    rewards = np.arange(T, dtype=np.float32)
    return [
        Transitions(observations, actions, rewards, ends, none),
        Transitions(observations, actions, rewards, none, ends),
    ]


VECTORS = np.random.default_rng(0).standard_normal((T + 1, 3)).astype(np.float32)
FRAMES = np.random.default_rng(0).integers(0, 256, (T + 1, 96, 80, 3), dtype=np.uint8)
CASES = {
    "vectors, Discrete": (VECTORS, spaces.Discrete(3), np.arange(T) % 3),
    "frames, Box of odd bounds": (
        FRAMES,
        spaces.Box(np.float32([-2, 0]), np.float32([2, 0.5]), dtype=np.float32),
        np.tile(np.float32([[1.5, 0.25]]), (T, 1)),
    ),
    "frames, MultiDiscrete": (FRAMES, spaces.MultiDiscrete([3, 2]), np.tile([[2, 1]], (T, 1))),
    "vectors, MultiBinary": (VECTORS, spaces.MultiBinary(2), np.tile([[0, 1]], (T, 1))),
}


@pytest.mark.parametrize("case", CASES)
def test_episodes_come_out_of_minari_as_they_went_in(minari, tmp_path, case):
    observations, gym_space, actions = CASES[case]
    space, _ = from_gymnasium(gym_space, "here")
    written = write_minari(
        "tests/both-v0",
        recorded(observations, actions),
        space,
        description="two episodes",
        algorithm="none",
    )
    assert written == 2
    dataset = minari.load_dataset("tests/both-v0")
    assert (dataset.action_space, dataset.total_steps) == (gym_space, 2 * T)
    assert dataset.observation_space.contains(dataset[0].observations[0])

    printed = run("import", "minari:tests/both-v0", tmp_path / "out")
    assert "2 episodes, 10 steps" in printed
    ended, cut = map(load_episode, episode_paths(tmp_path / "out"))
    for episode in (ended, cut):
        assert np.array_equal(
            episode["frames" if observations is FRAMES else "vectors"], observations[:T]
        )
        assert np.array_equal(episode["actions"], actions)
    assert ended["terminated"].tolist() == [False] * 4 + [True]
    assert not cut["terminated"].any()
    assert to_gymnasium(read_description(tmp_path / "out").action_space) == gym_space
    assert validate_dataset(tmp_path / "out").passed


def test_recorded_episodes_are_written_as_minari_can_use_them(minari, tmp_path):
    space, _ = from_gymnasium(spaces.Discrete(3), "here")
    episodes = recorded(VECTORS, np.arange(T) % 3)
    write_minari("tests/a-v0", episodes, space, description="", algorithm="none")
    run("import", "minari:tests/a-v0", tmp_path / "out")
    assert "2 episodes" in run("minari", tmp_path / "out", "tests/b-v0")
    ended, cut = minari.load_dataset("tests/b-v0")
    assert np.array_equal(ended.observations, VECTORS[[0, 1, 2, 3, 4, 4]])
    assert ended.terminations[-1]
    assert np.array_equal(cut.observations, VECTORS[:T])  # its last action is left out
    assert cut.truncations[-1]
    assert not cut.terminations.any()


def test_a_part_of_dict_observations_is_chosen_and_choices_are_counted_from_0(minari, tmp_path):
    from minari.data_collector import EpisodeBuffer

    buffer = EpisodeBuffer(
        observations={"camera": FRAMES, "robot": {"joints": VECTORS}},
        actions=np.arange(T) % 3 + 1,
        rewards=np.ones(T),
        terminations=np.zeros(T, bool),
        truncations=np.arange(T) == T - 1,
        infos={},
    )
    joints = spaces.Box(-9, 9, (3,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that this dataset does not need
        minari.create_dataset_from_buffers(
            "tests/dict-v0",
            [buffer],
            observation_space=spaces.Dict(
                camera=spaces.Box(0, 255, FRAMES.shape[1:], np.uint8),
                robot=spaces.Dict(joints=joints),
            ),
            action_space=spaces.Discrete(3, start=1),
            data_format="hdf5",
            jpeg_encoding=False,
        )
    source = "minari:tests/dict-v0"
    with pytest.raises(DataError, match=r"\['camera', 'robot'\]; choose one with --observation"):
        run("import", source, tmp_path / "none")
    with pytest.raises(DataError, match=r"no part 'arm' of the observations"):
        run("import", source, tmp_path / "none", "--observation", "arm")
    run("import", source, tmp_path / "out", "--observation", "robot/joints")
    (episode,) = map(load_episode, episode_paths(tmp_path / "out"))
    assert np.array_equal(episode["vectors"], VECTORS[:T])
    assert episode["actions"].tolist() == [0, 1, 2, 0, 1]


def test_a_worlds_dreams_are_a_minari_dataset(minari, tiny_bundle):
    printed = run("dreams", tiny_bundle, "tiny/dreams-v0", "--episodes", 18, "--max-steps", 4)
    assert "minari:tiny/dreams-v0: 18 dreams of tiny" in printed
    dataset = minari.load_dataset("tiny/dreams-v0")
    assert dataset.total_episodes == 18
    assert dataset.observation_space == spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert dataset.action_space == spaces.Discrete(3)

    client = LocalClient(tiny_bundle)
    for number in (0, 17):  # of different batches
        episode = dataset[number]
        start = client.reset(seed=number, include=["frame"])
        dreamed = [
            client.step(start.session_id, int(action), include=["frame"])
            for action in episode.actions
        ]
        frames = [start.frame, *(step.frame for step in dreamed)]
        assert np.array_equal(episode.observations, np.stack(frames))
        assert episode.rewards.tolist() == [step.reward for step in dreamed]
        assert episode.terminations.tolist() == [step.terminated for step in dreamed]
        assert (episode.terminations | episode.truncations)[-1]


def test_latents_are_exported_without_decoding(minari, tiny_bundle):
    run("dreams", tiny_bundle, "tiny/latents-v0", "--episodes", 1, "--max-steps", 3, "--latents")
    assert minari.load_dataset("tiny/latents-v0")[0].observations.shape[1:] == (4,)


def test_an_export_that_fails_leaves_no_dataset(minari, tiny_bundle, tmp_path):
    space, _ = from_gymnasium(spaces.Discrete(3), "here")
    good, bad = recorded(VECTORS, np.arange(T) % 3)[0], recorded(VECTORS, np.arange(T))[0]
    for episodes, message in (([good, bad], r"episode 1: actions\[3\] = 3"), ([], "no episodes")):
        with pytest.raises(ValueError, match=message):
            write_minari("tests/bad-v0", episodes, space, description="", algorithm="")
        assert minari.list_local_datasets() == {}
    write_minari("tests/good-v0", [good], space, description="", algorithm="")
    with pytest.raises(DataError, match="choose another version"):
        write_minari("tests/good-v0", [good], space, description="", algorithm="")
    with pytest.raises(DataError, match="is no Minari id"):
        run("dreams", tiny_bundle, "no id")
    with pytest.raises(DataError, match="no Minari dataset 'tests/none-v0'"):
        run("import", "minari:tests/none-v0", tmp_path / "out")
    with pytest.raises(ValueError, match="--policy must be random or bundled"):
        run("dreams", tiny_bundle, "tests/x-v0", "--policy", "best")


def test_the_example_of_the_help_writes_what_a_recipe_collected(minari, tmp_path, monkeypatch):
    """Its folder says nothing of the actions that were possible."""
    monkeypatch.chdir(tmp_path)
    help_text = " ".join(run("minari", "--help").split())
    words = shlex.split(re.search(r"Example: dreamserve-train (.*\)')", help_text)[1])
    folder = Path(words[1])
    folder.mkdir(parents=True)
    for number in range(2):
        episode = {
            "frames": FRAMES[:T],
            "actions": np.arange(T) % 3,
            "rewards": np.ones(T, np.float32),
            "terminated": np.arange(T) == T - 1,
        }
        save_episode(folder / f"episode-{number:06d}.npz", episode)
    assert run(*words).startswith(f"minari:{words[2]}: 2 episodes")
