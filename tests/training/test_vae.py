"""V: shapes, loss, and a training that learns and resumes."""

import re

import numpy as np
import pytest
import torch

from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.frames import FrameDataset, frame_loader, sample_frames
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.vae import ConvVAE, load_vae, save_vae, vae_loss
from dreamserve_training.train.vae import VAEConfig, VAELoop, train_vae


def test_latents_and_frames_have_the_documented_shapes():
    vae = ConvVAE(z_dim=7)
    reconstruction, mu, logvar = vae(torch.rand(3, 64, 64, 3))
    assert reconstruction.shape == (3, 64, 64, 3)
    assert mu.shape == logvar.shape == (3, 7)
    assert 0 <= float(reconstruction.detach().min()) <= float(reconstruction.detach().max()) <= 1


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ValueError, match="64, 64, 3"):
        ConvVAE().encode(torch.rand(1, 32, 64, 3))


def test_the_loss_sums_over_pixels_and_floors_the_kl_per_image():
    frames, mu = torch.zeros(2, 64, 64, 3), torch.zeros(2, 4)
    error, kl = vae_loss(frames + 0.1, frames, mu, torch.zeros(2, 4))
    assert float(error) == pytest.approx(64 * 64 * 3 * 0.01, rel=1e-5)
    assert float(kl) == 0.5 * 4  # the posterior is the prior: KL 0, raised to the floor
    far = torch.full((2, 4), 3.0)
    assert float(vae_loss(frames, frames, far, torch.zeros(2, 4))[1]) == pytest.approx(4 * 4.5)


def test_a_pixel_unlike_the_mean_image_weighs_more():
    loop = VAELoop(ConvVAE(4).eval(), torch.zeros(64, 64, 3), VAEConfig(z_dim=4), steps=1)
    dark = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    lit = dark.clone()
    lit[0, 30:34, 30:34] = 255
    torch.manual_seed(0)
    plain = float(loop.losses(dark)[0].detach())
    torch.manual_seed(0)
    salient = float(loop.losses(lit)[0].detach())
    unweighted = 4 * 4 * 3 * 0.25 * loop.config.reconstruction_scale
    assert salient - plain > 3 * unweighted


def episodes_in(directory, frames):
    directory.mkdir(exist_ok=True)
    for index, part in enumerate(frames):
        path = directory / f"episode-{index}.npz"
        save_episode(path, {"frames": part, "actions": np.zeros(len(part), np.int64)})
    return sorted(directory.glob("*.npz"))


def test_sampled_frames_come_evenly_from_all_episodes(tmp_path):
    frames = [np.full((n, 64, 64, 3), i + 1, np.uint8) for i, n in enumerate((5, 40, 40))]
    sample_frames(episodes_in(tmp_path / "raw", frames), tmp_path / "frames.npy", count=30)
    values, counts = np.unique(np.load(tmp_path / "frames.npy")[:, 0, 0, 0], return_counts=True)
    assert values.tolist() == [1, 2, 3]
    assert counts.tolist() == [5, 10, 10]  # an episode gives what it has


def test_an_all_zero_last_frame_is_never_sampled_and_a_black_one_inside_is(tmp_path):
    frames = np.full((4, 64, 64, 3), 9, np.uint8)
    frames[1] = frames[-1] = 0
    paths = episodes_in(tmp_path / "raw", [frames])
    sample_frames(paths, tmp_path / "frames.npy", count=10)
    assert sorted(np.load(tmp_path / "frames.npy")[:, 0, 0, 0].tolist()) == [0, 9, 9]


def test_a_shuffled_loader_gives_every_frame_once(tmp_path):
    values = np.arange(20, dtype=np.uint8)
    np.save(tmp_path / "f.npy", np.broadcast_to(values[:, None, None, None], (20, 2, 2, 3)))
    batches = list(frame_loader(FrameDataset(tmp_path / "f.npy"), 5, shuffle=True))
    assert sorted(int(frame[0, 0, 0]) for batch in batches for frame in batch) == list(range(20))


@pytest.mark.slow
def test_training_learns_and_a_finished_one_is_not_run_again(tmp_path):
    rng = np.random.default_rng(0)
    frames = np.full((256, 64, 64, 3), 60, np.uint8)
    for frame in frames:
        row, column = rng.integers(8, 56, size=2)
        frame[row - 4 : row + 4, column - 4 : column + 4] = (250, 200, 40)
    np.save(tmp_path / "train.npy", frames)
    np.save(tmp_path / "holdout.npy", frames[:64])
    config = VAEConfig(z_dim=8, epochs=16, batch_size=32, validation_frames=64)
    files = tmp_path / "train.npy", tmp_path / "holdout.npy", tmp_path / "vae"
    path = train_vae(*files, config, device="cpu")

    held_out = torch.from_numpy(frames[:64]).float() / 255

    def error(vae):
        with torch.no_grad():
            return float((vae.decode(vae.encode(held_out)[0]) - held_out).square().sum())

    assert error(load_vae(path)) < 0.3 * error(ConvVAE(8).eval())

    weights = path.read_bytes()
    assert train_vae(*files, config, device="cpu").read_bytes() == weights

    on = *files[:2], tmp_path / "on"
    one = VAEConfig(z_dim=8, epochs=1, lr=1e-5, batch_size=32, validation_frames=64)
    trained_on = load_vae(train_vae(*on, one, device="cpu", initial=path))
    assert error(trained_on) < 1.1 * error(load_vae(path))
    with pytest.raises(ValueError, match=r"initial\.sha256 was .* and is now absent"):
        train_vae(*on, one, device="cpu")
    with pytest.raises(CheckpointError, match=r"'z_dim': 8.*'z_dim': 4"):
        train_vae(*files[:2], tmp_path / "other", VAEConfig(z_dim=4), device="cpu", initial=path)


def test_a_vae_is_read_back_as_it_was_written(tmp_path):
    vae = ConvVAE(5)
    save_vae(vae, tmp_path / "vae.pth")
    again = load_vae(tmp_path / "vae.pth")
    assert again.z_dim == 5
    assert all(map(torch.equal, again.state_dict().values(), vae.state_dict().values()))


def test_z_is_drawn_with_the_posteriors_own_spread():
    vae = ConvVAE(4)
    rows = 20_000
    vae.encode = lambda frames: (torch.full((rows, 1), 3.0), torch.full((rows, 1), 4.0).log())
    vae.decode = lambda z: z
    torch.manual_seed(0)
    z, _, _ = vae(torch.zeros(1))
    assert z.mean().item() == pytest.approx(3.0, abs=0.05)
    assert z.std().item() == pytest.approx(2.0, abs=0.05)


def test_the_validation_loss_is_of_the_held_out_frames(tmp_path, caplog):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train.npy", np.full((64, 64, 64, 3), 90, np.uint8))
    np.save(tmp_path / "same.npy", np.full((8, 64, 64, 3), 90, np.uint8))
    np.save(tmp_path / "noise.npy", rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8))
    config = VAEConfig(z_dim=4, epochs=1, batch_size=32, validation_frames=8)
    for held_out in ("same", "noise"):
        with caplog.at_level("INFO", "dreamserve_training"):
            validation = tmp_path / f"{held_out}.npy"
            train_vae(tmp_path / "train.npy", validation, tmp_path / held_out, config, "cpu")
    same, noise = (float(re.search(r"val_loss (\S+)", line)[1]) for line in caplog.messages)
    assert noise > 2 * same


@pytest.mark.parametrize(
    "shape",
    [(64, 64, 3), (96, 72, 1), (84, 84, 4), (120, 160, 3), (28, 28, 1), (5, 9, 2), (1, 4, 1)],
)
def test_frames_of_any_size_and_one_to_four_channels_are_encoded_and_decoded(shape):
    vae = ConvVAE(3, shape)
    reconstruction, mu, logvar = vae(torch.rand(2, *shape))
    assert reconstruction.shape == (2, *shape)
    assert mu.shape == logvar.shape == (2, 3)
    # the last feature map is small whatever the size, and V has a size that can be served
    assert sum(parameter.numel() for parameter in vae.parameters()) < 2_000_000


@pytest.mark.parametrize("shape", [(64, 64, 5), (0, 64, 3)])
def test_frames_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match="C from 1 to 4"):
        ConvVAE(3, shape)


def test_v_learns_what_moves_before_a_white_background():
    rng, count = np.random.default_rng(0), 64
    frames = np.full((count, 32, 32, 1), 255, np.uint8)
    for frame, place in zip(frames, rng.integers(2, 28, (count, 2)), strict=True):
        frame[place[0] : place[0] + 4, place[1] : place[1] + 4] = 0
    batch, mean = torch.from_numpy(frames), torch.from_numpy(frames).float().mean(0) / 255
    torch.manual_seed(0)
    loop = VAELoop(ConvVAE(8, (32, 32, 1)), mean, VAEConfig(z_dim=8), steps=150)
    average = (batch / 255 - mean).square().flatten(1).sum(1).mean()
    adam = torch.optim.Adam(loop.vae.parameters(), lr=1.5e-3)
    for _ in range(150):
        adam.zero_grad()
        loop.loss_of(batch).backward()
        adam.step()
    with torch.no_grad():
        shown = loop.vae(batch / 255)[0]
    assert (batch / 255 - shown).square().flatten(1).sum(1).mean() < 0.5 * average
