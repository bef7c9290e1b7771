"""Data that is wrong in ways that shapes do not show is refused by file and row, in time."""

import numpy as np
import pytest

from dreamserve.spaces import BoxSpace
from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.loaders import check_batches, create_window_loader
from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.data.windows import TrajectoryDataset
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.tools.dataset_utils import (
    DataError,
    FramesToLatentConverter,
    validate_dataset,
)
from dreamserve_training.train.memory import TrainConfig, train_memory

Z, T = 3, 6


def latent(**changed):
    rng = np.random.default_rng(0)
    episode = {
        "mu": rng.standard_normal((T, Z)).astype(np.float32),
        "logvar": np.full((T, Z), -2, np.float32),
        "actions": np.arange(T) % 3,
        "rewards": np.ones(T, np.float32),
        "terminated": np.arange(T) == T - 1,
    }
    return episode | changed


def raw(shape=(8, 8, 3), **changed):
    frames = np.random.default_rng(1).integers(1, 256, (T, *shape), dtype=np.uint8)
    steps = {name: latent()[name] for name in ("actions", "rewards", "terminated")}
    return {"frames": frames} | steps | changed


def write(directory, *episodes):
    directory.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(episodes):
        save_episode(directory / f"episode-{number}.npz", episode)
    return directory


def at(row, value, of=None):
    array = np.array(np.ones(T, np.float32) if of is None else of)
    array[row] = value
    return array


NUMBERS = {
    "a variance whose exp overflows": (
        latent(logvar=at((3, 1), 200, latent()["logvar"])),
        r"logvar is 200 at step 3.*at most 20",
    ),
    "a reward whose square overflows": (
        latent(rewards=at(2, 1e25)),
        r"rewards holds 1e\+25 at step 2.*scale them",
    ),
    "a reward beyond float32": (latent(rewards=at(2, 1e300, np.ones(T))), r"1e\+300 at step 2"),
    "a latent whose square overflows": (latent(mu=at((4, 0), 1e20, latent()["mu"])), "mu holds"),
    "a complex reward": (latent(rewards=np.ones(T, np.complex64)), "rewards must be numbers"),
    "NaN as an end": (latent(terminated=at(1, np.nan)), "terminated is nan at step 1"),
    "an end that is neither 0 nor 1": (latent(terminated=at(5, 0.5) * 0.5), "terminated is 0.5"),
    "words as ends": (latent(terminated=np.array(["no"] * T)), "must be booleans"),
    "continuous actions without an axis": (
        latent(actions=np.linspace(0, 1, T, endpoint=False)),
        r"actions are \(T,\) floats",
    ),
}


@pytest.mark.parametrize("fault", NUMBERS)
def test_numbers_that_training_cannot_use_are_refused_by_file_and_step(tmp_path, fault):
    episode, message = NUMBERS[fault]
    directory = write(tmp_path / "latents", latent(), episode)
    report = validate_dataset(directory)
    assert list(report.problems) == ["episode-1.npz"]
    with pytest.raises(DataError, match=rf"episode-1\.npz: .*{message}"):
        list(TrajectoryDataset(directory, 4))


def test_ends_that_are_floats_of_0_and_1_are_valid(tmp_path):
    directory = write(tmp_path / "latents", latent(terminated=at(T - 1, 1, np.zeros(T))))
    assert validate_dataset(directory).passed


def test_an_end_that_is_nan_is_not_hidden_by_the_terminal_frame_that_is_dropped(tmp_path):
    episode = raw(terminated=at(T - 1, np.nan, np.zeros(T)))
    episode["frames"][-1] = 0
    assert "terminated is nan" in str(validate_dataset(write(tmp_path / "raw", episode)))


ACTIONS = {
    "floats for classes": (
        np.random.default_rng(0).random((T, 1)),
        True,
        r"must be \['B'\]|must be integers of Discrete",
    ),
    "counted from 1": (np.arange(T) % 3 + 1, True, r"actions\[2\] = 3 .*count from 1"),
    "a last axis": ((np.arange(T) % 3)[:, None], True, r"without the last axis"),
    "negative": (np.arange(T) % 3 - 1, True, r"actions\[0\] = -1 is not in Discrete\(3\)"),
    "classes for torques": (np.arange(T) % 3, False, r"actions of Box"),
    "another number of torques": (np.zeros((T, 2), np.float32), False, r"\[6, 2\]: must be"),
}


@pytest.mark.parametrize("fault", ACTIONS)
def test_actions_that_the_model_does_not_take_are_refused_before_training(tmp_path, fault):
    actions, discrete, message = ACTIONS[fault]
    good = latent() if discrete else latent(actions=np.zeros((T, 3), np.float32))
    model = MDNRNN(Z, 3, rnn_size=4, num_mixtures=1, discrete_actions=discrete)
    mixed = create_window_loader(write(tmp_path / "l", good, latent(actions=actions)), 2, 4)
    config = TrainConfig(epochs=1, device="cpu", save_dir=str(tmp_path / "save"))
    with pytest.raises(DataError, match=rf"episode-1\.npz: .*{message}"):
        train_memory(model, mixed, config)
    assert not (tmp_path / "save").exists()


def test_actions_outside_the_models_own_bounds_are_refused_before_training(tmp_path):
    pedals = BoxSpace(low=(-1, 0), high=(1, 1), names=("steer", "gas"))
    actions = np.tile(np.float32([[0.5, 0.5]]), (T, 1))
    good, bad = latent(actions=actions), latent(actions=at((2, 1), -0.5, actions))
    loader = create_window_loader(write(tmp_path / "l", good, bad))
    model = MDNRNN(Z, rnn_size=4, num_mixtures=1, action_space=pedals)
    with pytest.raises(DataError, match=r"episode-1\.npz: actions\[2\] .* is not in Box: steer"):
        check_batches(loader, model)


def test_latents_of_another_size_are_refused_before_training(tmp_path):
    loader = create_window_loader(write(tmp_path / "l", latent()))
    with pytest.raises(DataError, match=r"episode-0\.npz: latents have 3 numbers.* takes 5"):
        check_batches(loader, MDNRNN(5, 3, rnn_size=4))


def test_sequences_in_memory_have_their_shapes_and_one_count():
    z, actions = [np.zeros((T, Z))] * 2, [np.zeros(T, int)] * 2
    with pytest.raises(DataError, match=r"sequence 0: z must be \(T, Z\).*got \(\), \(6,\)"):
        SequenceDataset([0.5, z[1]], actions)
    with pytest.raises(DataError, match=r"sequence 1: .*got \(6, 3\), \(6,\), \(\)"):
        SequenceDataset(z, actions, [np.ones(T), 1.0])
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"2 sequences of z but {count} of rewards"):
            SequenceDataset(z, actions, [np.ones(T)] * count)
    with pytest.raises(ValueError, match="at least one sequence"):
        SequenceDataset([], [])


def test_sequences_in_memory_are_held_to_the_same_rules():
    z = [np.zeros((T, Z))] * 2
    with pytest.raises(DataError, match=r"sequence 1: rewards holds 1e\+25 at step 0"):
        SequenceDataset(z, [np.zeros(T, int)] * 2, [np.ones(T), at(0, 1e25)])

    class Batches:
        dataset = SequenceDataset(z, [np.zeros(T, int), np.full(T, 3)])

    with pytest.raises(DataError, match=r"sequence 1: actions\[0\] = 3 is not in Discrete\(3\)"):
        check_batches(Batches(), MDNRNN(Z, 3, rnn_size=4))


def test_actions_outside_the_bounds_of_their_space_are_found(tmp_path):
    torques = np.linspace(-1, 1, T, dtype=np.float32)[:, None]
    directory = write(tmp_path / "raw", raw(actions=torques), raw(actions=at((3, 0), 2.5, torques)))
    assert validate_dataset(directory).passed
    report = validate_dataset(directory, BoxSpace(low=(-2,), high=(2,), names=("torque",)))
    assert list(report.problems) == ["episode-1.npz"]
    assert "actions[3] = [2.5] is not in Box: torque in [-2, 2]" in str(report)


FRAMES = {
    "two sizes": (raw((12, 8, 3)), r"frames are \(12, 8, 3\), but \(8, 8, 3\) in episode-0.npz"),
    "gray without channels": (raw(()) | {"frames": np.ones((T, 8, 8), np.uint8)}, "import"),
    "floats": (raw() | {"frames": np.ones((T, 8, 8, 3), np.float32)}, "uint8.*import"),
    "channels first": (raw((3, 8, 8)), "C from 1 to 4.*import"),
}


@pytest.mark.parametrize("fault", FRAMES)
def test_frames_that_v_cannot_be_trained_on_are_refused_before_they_are_sampled(tmp_path, fault):
    episode, message = FRAMES[fault]
    directory = write(tmp_path / "raw", raw(), episode)
    with pytest.raises(DataError, match=rf"episode-1\.npz: .*{message}"):
        sample_frames(sorted(directory.iterdir()), tmp_path / "sample.npy", 10)
    assert not (tmp_path / "sample.npy").exists()
    assert list(validate_dataset(directory).problems) == ["episode-1.npz"]


@pytest.mark.parametrize("shape", [(96, 96, 3), (120, 160, 3), (64, 64, 4)])
def test_frames_of_any_size_and_up_to_four_channels_are_valid_and_reported(tmp_path, shape):
    report = validate_dataset(write(tmp_path / "raw", raw(shape)))
    assert report.passed
    assert " x ".join(map(str, shape)) in str(report)


def test_a_sample_of_camera_frames_is_what_the_encoder_makes_of_them(tmp_path, tiny_models):
    episode = raw((96, 100, 3))
    directory, crop = write(tmp_path / "raw", episode), (0, 96, 2, 98)
    sample_frames([directory / "episode-0.npz"], tmp_path / "s.npy", T, crop=crop, size=(64, 64))
    sample = np.load(tmp_path / "s.npy")
    encoded = FramesToLatentConverter(tiny_models[0], crop=crop).prepare(episode["frames"])
    assert sorted(map(bytes, sample)) == sorted(map(bytes, encoded))
    with pytest.raises(DataError, match=r"crop \(0, 97, 0, 64\) is not inside"):
        sample_frames([directory / "episode-0.npz"], tmp_path / "t.npy", T, crop=(0, 97, 0, 64))


def test_black_frames_inside_an_episode_are_kept_and_counted(tmp_path):
    episode = raw()
    episode["frames"][[2, -1]] = 0
    report = validate_dataset(write(tmp_path / "raw", episode))
    assert report.passed
    assert (report.terminal_frames, report.black_frames) == (1, 1)


def test_a_report_says_that_frames_are_nearly_black(tmp_path):
    episode = raw()
    assert "nearly black" not in str(validate_dataset(write(tmp_path / "raw", episode)))
    episode["frames"] = episode["frames"] // 128  # of a mask, 0 and 1
    report = str(validate_dataset(write(tmp_path / "mask", episode)))
    assert "frames are at most 1 of 255: nearly black" in report


def test_the_observation_after_the_last_action_is_said_to_be_one_too_many(tmp_path):
    episode = raw()
    episode["frames"] = np.concatenate([episode["frames"], episode["frames"][:1]])
    directory = write(tmp_path / "raw", episode)
    assert "leave out the last of the frames" in str(validate_dataset(directory))


def test_vectors_are_raw_observations_too(tmp_path):
    steps = {name: latent()[name] for name in ("actions", "rewards", "terminated")}
    vectors = np.zeros((T, 4), np.float32)
    assert validate_dataset(write(tmp_path / "a", {"vectors": vectors, **steps})).passed
    infinite = {"vectors": at((1, 2), np.inf, vectors), **steps}
    report = validate_dataset(write(tmp_path / "b", infinite))
    assert "vectors holds NaN or infinity at step 1" in str(report)
