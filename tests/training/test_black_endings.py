"""An episode whose last picture is black: who knows what its last row is."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamserve_training.data.checks import load_raw_episode
from dreamserve_training.data.collect import CollectConfig, collect
from dreamserve_training.data.disk import Data
from dreamserve_training.data.episodes import load_episode, save_episode
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.report import validate_dataset
from dreamserve_training.data.sources.importing import import_dataset
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.recorded import take_recorded

STEPS = 9


class Catch(gymnasium.Env):
    """A ball falls. When it has left the picture, nothing is seen; the next step pays, and ends."""

    observation_space = spaces.Box(0, 255, (16, 16), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._picture(), {}

    def step(self, action):
        self.steps += 1
        ends = self.steps == STEPS
        return self._picture(), float(ends), ends, False, {}

    def _picture(self):
        picture = np.zeros((16, 16), np.uint8)
        picture[2 * self.steps : 2 * self.steps + 2, 4:6] = 255
        return picture


@pytest.fixture(scope="module")
def spec():
    return probe(Recipe(env=Catch, max_episode_steps=20)).env


@pytest.fixture(scope="module")
def collected(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    collect(spec, folder, CollectConfig(episodes=2, workers=1))
    return folder


def is_whole(path):
    episode, had_terminal_frame = load_raw_episode(path)
    assert not had_terminal_frame
    assert not episode["frames"][-1].any()
    return episode["rewards"].tolist() == [0.0] * (STEPS - 1) + [1.0]


def test_what_was_collected_is_kept_to_its_last_step(collected, tmp_path):
    paths = sorted(collected.glob("*.npz"))
    assert all(map(is_whole, paths))
    assert validate_dataset(collected).terminal_frames == 0
    sample_frames(paths, tmp_path / "frames.npy", count=100)
    black = [not frame.any() for frame in np.load(tmp_path / "frames.npy")]
    assert sum(black) == len(paths)


def flat(folder, collected, observations):
    """Write an episode as another project does, with so many observations, the last one black."""
    folder.mkdir()
    episode = load_episode(next(iter(sorted(collected.glob("*.npz")))))
    frames = np.concatenate([episode["frames"], episode["frames"][:1]])[:observations]
    arrays = {name: episode[name] for name in ("actions", "rewards", "terminated")}
    for number in range(2):
        save_episode(folder / f"{number}.npz", {**arrays, "frames": frames})
    return folder


def test_what_was_imported_with_all_observations_is_kept_also_in_a_run(spec, collected, tmp_path):
    foreign = flat(tmp_path / "foreign", collected, STEPS + 1)
    import_dataset(str(foreign), tmp_path / "data")
    assert all(map(is_whole, (tmp_path / "data").glob("*.npz")))
    take_recorded(Data(tmp_path / "data"), spec, lambda split: tmp_path / "run" / split)
    taken = sorted((tmp_path / "run").glob("*/*.npz"))
    assert len(taken) == 2
    assert all(map(is_whole, taken))


def test_a_black_last_observation_of_unknown_meaning_is_left_out_at_import_and_told(
    collected, tmp_path, caplog
):
    foreign = flat(tmp_path / "foreign", collected, STEPS)
    with caplog.at_level("WARNING", "dreamserve_training"):
        assert import_dataset(str(foreign), tmp_path / "data").steps == 2 * (STEPS - 1)
    assert "2 episodes end with an all-zero frame; its row is left out" in caplog.text
    assert load_raw_episode(foreign / "0.npz")[1], "and where such a folder is read"
