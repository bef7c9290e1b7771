"""From raw episodes to batches: what is kept, refused, and kept apart."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback

from dreamserve_training.data.episodes import load_episode, save_episode
from dreamserve_training.data.loaders import PassSampler
from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.data.windows import window_table
from dreamserve_training.models.mdnrnn import MDNRNN, train_mdnrnn
from dreamserve_training.models.vae import ConvVAE, save_vae
from dreamserve_training.tools.dataset_utils import (
    DataError,
    FramesToLatentConverter,
    TrajectoryDataset,
    create_mdnrnn_dataloader,
    pack_collate,
    pad_collate,
    preprocess_trajectories,
    validate_dataset,
)

Z = 4


def steps(length, died=True):
    rng = np.random.default_rng(length)
    terminated = np.zeros(length, np.bool_)
    terminated[-1] = died
    return {
        "actions": rng.integers(0, 3, length),
        "rewards": np.ones(length, np.float32),
        "terminated": terminated,
    }


def latent_episode(length, number=0, logvar=-1000.0, died=True):
    """Return an episode n whose step t has mu n·100 + t in every dimension, without variance."""
    mu = np.repeat(np.arange(length)[:, None], Z, axis=1) + 100.0 * number
    return {
        "mu": mu.astype(np.float16),
        "logvar": np.full((length, Z), logvar, np.float16),
        **steps(length, died),
    }


def raw_episode(length, size=64):
    frames = np.random.default_rng(length).integers(1, 256, (length, size, size, 3), np.uint8)
    return {"frames": frames, **steps(length), "health": np.full(length, 100, np.float32)}


def write(directory, episodes):
    directory.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(episodes):
        save_episode(directory / f"episode-{number:03d}.npz", episode)
    return directory


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return ConvVAE(Z)


@pytest.fixture
def latents(tmp_path):
    return write(tmp_path / "latents", [latent_episode(n, i) for i, n in enumerate((7, 1, 16, 23))])


# Windows


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    sequence_length=st.integers(1, 20),
    burn_in=st.integers(0, 7),
)
def test_every_step_counts_exactly_once_and_no_window_crosses_an_episode(
    lengths, sequence_length, burn_in
):
    counted = [np.zeros(length, int) for length in lengths]
    for episode, context, begin, end in window_table(np.array(lengths), sequence_length, burn_in):
        assert 0 <= context <= begin < end <= lengths[episode]
        assert end - context <= sequence_length + burn_in
        assert context == 0 or begin - context >= burn_in
        counted[episode][begin:end] += 1
    assert all((times == 1).all() for times in counted)


def test_an_item_is_aligned_and_its_targets_are_the_next_latents(latents):
    for item in TrajectoryDataset(latents, 8):
        t = item["z"][:, 0]
        assert torch.equal(t, t[0] + torch.arange(len(t)))
        assert torch.equal(item["next_z"][item["next_mask"]], item["z"][item["next_mask"]] + 1)
        assert bool(item["start"]) == (float(t[0]) % 100 == 0)
        assert item["z"].dtype == item["rewards"].dtype == item["done"].dtype == torch.float32
        assert item["actions"].dtype == torch.int64


def test_the_last_step_of_an_episode_has_no_target_and_is_its_done(latents):
    counted, targets, done = 0, 0, 0
    for item in TrajectoryDataset(latents, 8):
        counted += int(item["mask"].sum())
        targets += int(item["next_mask"].sum())
        done += int(item["done"][item["mask"]].sum())
        assert not (item["next_mask"] & item["done"].bool()).any()
    assert (counted, targets, done) == (7 + 1 + 16 + 23, 6 + 0 + 15 + 22, 4)


def test_the_last_window_starts_earlier_to_have_full_length(latents):
    last = [item for item in TrajectoryDataset(latents, 16) if item["done"].any()][-1]
    assert len(last["z"]) == 16
    assert last["mask"].tolist() == [False] * 9 + [True] * 7


def test_a_truncated_episode_has_no_done(tmp_path):
    directory = write(tmp_path / "d", [latent_episode(9, died=False)])
    assert not any(item["done"].any() for item in TrajectoryDataset(directory, 4))


def test_plain_latents_are_taken_as_they_are(tmp_path):
    z = np.random.default_rng(0).standard_normal((9, Z), np.float32)
    dataset = TrajectoryDataset(write(tmp_path / "d", [{"z": z, **steps(9)}]), 9)
    assert np.array_equal(dataset[0]["z"].numpy(), z)
    assert np.array_equal(dataset[1]["z"].numpy(), z)


def test_continuous_actions_stay_vectors_of_floats(tmp_path):
    episode = latent_episode(9) | {"actions": np.ones((9, 2))}
    item = TrajectoryDataset(write(tmp_path / "d", [episode]), 9)[0]
    assert item["actions"].shape == (9, 2)
    assert item["actions"].dtype == torch.float32


def test_z_is_resampled_in_every_pass_with_the_posteriors_moments(tmp_path):
    directory = write(tmp_path / "d", [latent_episode(100, logvar=np.log(0.25))])
    dataset = TrajectoryDataset(directory, 100, seed=3)
    assert torch.equal(dataset[5]["z"], TrajectoryDataset(directory, 100, seed=3)[5]["z"])
    assert not torch.equal(dataset[0]["z"], dataset[1]["z"])
    assert not torch.equal(dataset[0]["z"], TrajectoryDataset(directory, 100, seed=4)[0]["z"])
    draws = torch.stack([dataset[i]["z"] for i in range(400)]) - torch.arange(100.0)[:, None]
    assert abs(float(draws.mean())) < 0.005
    assert abs(float(draws.std()) - 0.5) < 0.005


def test_no_more_than_a_few_episodes_are_ever_in_memory(latents):
    dataset = TrajectoryDataset(latents, 4, cache_episodes=2)
    for _ in dataset:
        assert len(dataset._cache) <= 2


@pytest.mark.parametrize(
    "arguments", [{"sequence_length": 0}, {"sequence_length": 4, "burn_in": -1}]
)
def test_windows_of_no_length_are_refused(latents, arguments):
    with pytest.raises(ValueError, match="sequence_length"):
        TrajectoryDataset(latents, **arguments)


# Batches


def test_padding_is_masked_and_keeps_what_it_pads(latents):
    dataset = TrajectoryDataset(latents, 16)
    items = list(dataset)
    batch = pad_collate(items)
    assert batch["z"].shape == (len(items), 16, Z)
    for row, item in enumerate(items):
        length = len(item["z"])
        assert all(torch.equal(batch[name][row, :length], item[name]) for name in ("z", "mask"))
        assert not batch["mask"][row, length:].any()
        assert not batch["next_mask"][row, length:].any()
    assert batch["start"].tolist() == [bool(item["start"]) for item in items]


def test_sequences_in_memory_collate_like_windows():
    rng = np.random.default_rng(0)
    data = SequenceDataset([rng.random((n, Z)) for n in (3, 5)], [np.zeros(n, int) for n in (3, 5)])
    batch = pad_collate([data[0], data[1]])
    assert batch["mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_packed_items_unpack_to_the_padded_ones(latents):
    items = list(TrajectoryDataset(latents, 16))
    packed, padded = pack_collate(items), pad_collate(items)
    z, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed["z"], batch_first=True)
    assert torch.equal(z, padded["z"])
    assert lengths.tolist() == [len(item["z"]) for item in items]


def passes_of(loader, count=2):
    return [[batch["z"].clone() for batch in loader] for _ in range(count)]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_batches_are_a_function_of_seed_and_pass_whatever_the_workers(tmp_path):
    directory = write(tmp_path / "d", [latent_episode(n, i, 0.0) for i, n in enumerate((9, 20, 5))])
    alone = passes_of(create_mdnrnn_dataloader(directory, 2, 4, seed=1))
    helped = passes_of(create_mdnrnn_dataloader(directory, 2, 4, seed=1, num_workers=2, prefetch=2))
    assert same(alone[0], helped[0])
    assert same(alone[1], helped[1])
    assert not same(alone[0], alone[1])
    assert not same(alone[0], passes_of(create_mdnrnn_dataloader(directory, 2, 4, seed=2))[0])


def test_unshuffled_passes_are_all_the_same(tmp_path):
    directory = write(tmp_path / "d", [latent_episode(n, i, 0.0) for i, n in enumerate((9, 20))])
    first, second = passes_of(create_mdnrnn_dataloader(directory, 2, 4, shuffle=False))
    assert same(first, second)


class Recorder(Callback):
    def __init__(self, stop_after=None):
        self.seen, self.stop_after = [], stop_after

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.seen.append(batch["z"].clone())

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch + 1 == self.stop_after


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_training_sees_the_batches_of_an_uninterrupted_one(tmp_path, workers):
    directory = write(tmp_path / "d", [latent_episode(n, 0, 0.0) for n in (9, 20, 5)])

    def train(name, recorder):
        torch.manual_seed(0)
        loader = create_mdnrnn_dataloader(directory, 3, 4, num_workers=workers)
        config = {"epochs": 3, "save_dir": str(tmp_path / name), "device": "cpu"}
        held_out = create_mdnrnn_dataloader(directory, 3, 4, shuffle=False)
        train_mdnrnn(MDNRNN(Z, 3, 8), loader, config, held_out, callbacks=(recorder,))
        return recorder.seen

    unbroken = train("unbroken", Recorder())
    stopped = train("broken", Recorder(stop_after=1))
    resumed = train("broken", Recorder())
    assert len(stopped) == len(unbroken) // 3
    assert same(stopped + resumed, unbroken)


def test_prefetching_needs_workers(latents):
    with pytest.raises(ValueError, match="prefetch needs num_workers"):
        create_mdnrnn_dataloader(latents, prefetch=4)


# Encoding


def test_a_raw_episode_becomes_its_posterior_and_keeps_the_rest(tmp_path, vae):
    raw = write(tmp_path / "raw", [raw_episode(5), raw_episode(3)])
    save_vae(vae, tmp_path / "vae.pth")
    seen = []
    report = preprocess_trajectories(
        raw, tmp_path / "out", tmp_path / "vae.pth", progress=lambda *p: seen.append(p)
    )
    assert (report.encoded, report.kept, report.steps, report.trimmed) == (2, 0, 8, [])
    assert seen == [(0, 2), (1, 2), (2, 2)]
    before, after = (load_episode(p / "episode-000.npz") for p in (raw, tmp_path / "out"))
    assert after["mu"].dtype == after["logvar"].dtype == np.float16
    for name in ("actions", "rewards", "terminated", "health"):
        assert np.array_equal(before[name], after[name])
    with torch.inference_mode():
        mu, logvar = vae.encode(torch.from_numpy(before["frames"]).float() / 255)
    np.testing.assert_allclose(after["mu"], mu.numpy(), atol=1e-3)
    np.testing.assert_allclose(after["logvar"], logvar.numpy(), atol=1e-3)


def test_bfloat16_and_small_batches_encode_nearly_the_same(vae):
    frames = raw_episode(9)["frames"]
    exact = FramesToLatentConverter(vae).convert(frames)
    quick = FramesToLatentConverter(vae, batch_size=2, mixed_precision=True).convert(frames)
    for left, right in zip(exact, quick, strict=True):
        assert left.dtype == right.dtype == np.float32
        np.testing.assert_allclose(left, right, atol=0.02)


def test_camera_frames_are_cropped_and_resized(vae):
    camera = raw_episode(2, size=96)["frames"]
    converter = FramesToLatentConverter(vae, crop=(16, 80, 0, 64))
    assert np.array_equal(converter.prepare(camera), camera[:, 16:80, :64])
    with pytest.raises(ValueError, match=r"crop .* is not inside"):
        FramesToLatentConverter(vae, crop=(0, 97, 0, 64)).prepare(camera)


def test_encoding_leaves_a_vae_in_training_mode():
    vae = ConvVAE(Z).train()
    FramesToLatentConverter(vae).convert(raw_episode(2)["frames"])
    assert vae.training


def test_a_stopped_encoding_resumes_with_the_missing_episodes(tmp_path, vae):
    raw = write(tmp_path / "raw", [raw_episode(5), raw_episode(3)])
    preprocess_trajectories(raw, tmp_path / "out", vae)
    (tmp_path / "out" / "episode-001.npz").unlink()
    kept = (tmp_path / "out" / "episode-000.npz").stat().st_mtime_ns
    report = preprocess_trajectories(raw, tmp_path / "out", vae)
    assert (report.encoded, report.kept) == (1, 1)
    assert (tmp_path / "out" / "episode-000.npz").stat().st_mtime_ns == kept


def test_latents_of_two_encoders_are_never_mixed(tmp_path, vae):
    raw = write(tmp_path / "raw", [raw_episode(3)])
    preprocess_trajectories(raw, tmp_path / "out", vae)
    with pytest.raises(DataError, match="another encoder"):
        preprocess_trajectories(raw, tmp_path / "out", ConvVAE(Z))
    assert "encoder" in json.loads((tmp_path / "out" / "encoder.json").read_text())


def test_an_all_zero_terminal_frame_is_dropped_and_reported(tmp_path, vae):
    episode = raw_episode(6)
    episode["frames"][-1] = 0
    raw = write(tmp_path / "raw", [raw_episode(3), episode])
    assert validate_dataset(raw).terminal_frames == 1
    report = preprocess_trajectories(raw, tmp_path / "out", vae)
    assert report.trimmed == ["episode-001.npz"]
    after = load_episode(tmp_path / "out" / "episode-001.npz")
    assert {len(array) for array in after.values()} == {5}
    assert after["terminated"].tolist() == [False] * 4 + [True]


def truncate_file(path):
    path.write_bytes(path.read_bytes()[:1000])


def change(**fields):
    def apply(path):
        episode = load_episode(path)
        for name, edit in fields.items():
            episode[name] = edit(episode[name])
        np.savez(path, **episode)

    return apply


def remove(name):
    def apply(path):
        episode = load_episode(path)
        del episode[name]
        np.savez(path, **episode)

    return apply


def with_value(index, value):
    def edit(array):
        array = array.copy()
        array[index] = value
        return array

    return edit


RAW_FAULTS = {
    "not an archive": (lambda path: path.write_text("hello"), "cannot be read as an episode"),
    "truncated": (truncate_file, "cannot be read as an episode"),
    "pickled": (
        change(actions=lambda a: np.array([None] * len(a))),
        "cannot be read as an episode .*pickle",
    ),
    "no actions": (remove("actions"), "lacks actions"),
    "no frames": (remove("frames"), "lacks frames"),
    "uneven": (change(rewards=lambda r: r[:-1]), "arrays must have the same length"),
    "wrong size": (change(frames=lambda f: f[:, :32]), "frames are 32 x 64 but the VAE takes 64"),
    "floats": (change(frames=lambda f: f / 255.0), "frames must be .* uint8"),
    "grey": (change(frames=lambda f: f[..., 0]), "frames must be"),
    "NaN reward": (change(rewards=with_value(1, np.nan)), "rewards holds NaN"),
    "two in one": (change(terminated=with_value(1, True)), "terminated at step 1, not the last"),
    "words": (change(actions=lambda a: a.astype(str)), "actions must be numbers"),
}


@pytest.mark.parametrize("fault", RAW_FAULTS)
def test_a_broken_raw_episode_is_refused_by_name_and_leaves_nothing(tmp_path, vae, fault):
    damage, message = RAW_FAULTS[fault]
    raw = write(tmp_path / "raw", [raw_episode(4), raw_episode(5), raw_episode(3)])
    damage(raw / "episode-001.npz")
    with pytest.raises(DataError, match=rf"episode-001\.npz: .*{message}"):
        preprocess_trajectories(raw, tmp_path / "out", vae)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "encoder.json",
        "episode-000.npz",
    ]


def test_a_vae_that_diverged_is_detected(tmp_path):
    raw = write(tmp_path / "raw", [raw_episode(3)])
    for value, message in ((np.nan, "NaN or infinity"), (1e6, "too large for float16")):
        vae = ConvVAE(Z)
        torch.nn.init.constant_(vae.mu_head.bias, value)
        with pytest.raises(DataError, match=message):
            preprocess_trajectories(raw, tmp_path / f"out {value}", vae)


@pytest.mark.parametrize("prepare", [lambda path: None, lambda path: path.mkdir()])
def test_a_directory_without_episodes_is_refused(tmp_path, vae, prepare):
    prepare(tmp_path / "none")
    for use in (
        lambda path: preprocess_trajectories(path, tmp_path / "out", vae),
        create_mdnrnn_dataloader,
        validate_dataset,
    ):
        with pytest.raises(DataError, match=r"none: (no such directory|holds no episode files)"):
            use(tmp_path / "none")


# Checks

LATENT_FAULTS = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be read"),
    "no latents": (remove("mu"), "lacks mu|must hold mu and logvar, or z"),
    "NaN": (change(mu=with_value((3, 1), np.nan)), "mu holds NaN or infinity at step 3"),
    "other size": (
        change(mu=lambda m: m[:, :2], logvar=lambda v: v[:, :2]),
        r"latents are \(16, 2\)|arrays are",
    ),
    "flat": (change(mu=lambda m: m[:, 0]), r"mu must be \(T, Z\)|latents are \(16,\)"),
    "no ends": (remove("terminated"), "lacks terminated"),
}


@pytest.mark.parametrize("fault", LATENT_FAULTS)
def test_a_broken_latent_episode_is_refused_by_name(latents, fault):
    damage, message = LATENT_FAULTS[fault]
    damage(latents / "episode-002.npz")
    with pytest.raises(DataError, match=rf"episode-002\.npz: .*({message})"):
        list(TrajectoryDataset(latents, 8))
    report = validate_dataset(latents)
    assert not report.passed
    assert list(report.problems) == ["episode-002.npz"]
    assert len(report.lengths) == 3


def test_an_episode_that_changes_under_the_reader_is_refused(latents):
    dataset = TrajectoryDataset(latents, 8)
    shutil.copy(latents / "episode-003.npz", latents / "episode-000.npz")
    with pytest.raises(DataError, match=r"episode-000\.npz: changed while in use"):
        dataset[0]


def test_a_report_says_what_the_data_holds(latents):
    report = validate_dataset(latents)
    assert report.passed
    assert report.lengths == [7, 1, 16, 23]
    assert report.deaths == 4
    assert sum(report.actions.values()) == 47
    assert report.ranges["rewards"] == (1.0, 1.0)
    text = str(report)
    assert "4 episodes, 47 steps" in text
    assert "passed" in text


def test_every_row_of_a_window_is_one_step_of_its_episode(tmp_path):
    steps = np.arange(11)
    episode = {
        "z": np.stack([steps, steps], axis=1).astype(np.float32),
        "actions": steps,
        "rewards": steps.astype(np.float32),
        "terminated": steps == 10,
    }
    save_episode(tmp_path / "e.npz", episode)
    for item in TrajectoryDataset(tmp_path, 4, burn_in=2):
        rows = item["actions"]
        assert torch.equal(item["z"][:, 0], rows.float())
        assert torch.equal(item["rewards"], rows.float())
        assert torch.equal(item["done"], (rows == 10).float())
        seen = item["next_mask"]
        assert torch.equal(item["next_z"][seen][:, 0], rows[seen].float() + 1)


def test_each_pass_has_its_own_order_and_samples_of_z():
    sampler = PassSampler(20, shuffle=True, seed=0)
    first, second = np.array(list(sampler)), np.array(list(sampler))
    assert sorted(first) == list(range(20))
    assert sorted(second) == list(range(20, 40))  # other indices are other draws of z
    assert not np.array_equal(first, second - 20)


def test_the_converter_encodes_pixels_as_the_vae_takes_them():
    vae = ConvVAE(4).eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = vae.encode(torch.from_numpy(frames).float() / 255)
    for part, other in zip(FramesToLatentConverter(vae).convert(frames), expected, strict=True):
        np.testing.assert_allclose(part, other.numpy(), rtol=1e-5, atol=1e-6)
