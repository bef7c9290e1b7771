"""V for vectors is a scale: the latent is the observation, normalised."""

import numpy as np
import pytest
import torch

from dreamserve_training.data.encoding import FramesToLatentConverter
from dreamserve_training.data.episodes import DataError, save_episode
from dreamserve_training.export.precision import half_precision
from dreamserve_training.models.catalog import load_vision, save_vision
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.vectors import NOISE, VectorScale
from dreamserve_training.train.vectors import fit_scale

MEANS = np.array([0.0, 1000.0, -3.0, 7.0])
DEVIATIONS = np.array([1.0, 0.05, 400.0, 0.0])  # the last number never changes


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return (MEANS + DEVIATIONS * rng.standard_normal((500, 4))).astype(np.float32)


@pytest.fixture(scope="module")
def vision(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    for index, part in enumerate(np.split(vectors, 5)):
        save_episode(folder / f"episode-{index}.npz", {"vectors": part})
    return load_vision(fit_scale(sorted(folder.glob("*.npz")), folder / "v.pth"))


def test_latents_have_about_unit_variance_whatever_the_units(vision, vectors):
    mu, logvar = vision.encode(torch.from_numpy(vectors))
    deviation = mu.std(0)
    assert ((deviation[:3] > 0.7) & (deviation[:3] < 1.5)).all()
    assert deviation[3] == 0
    assert mu.abs().max() < 6
    torch.testing.assert_close(logvar.exp().sqrt(), torch.full_like(mu, NOISE))


def test_decoding_is_the_inverse_of_encoding(vision, vectors):
    seen = torch.from_numpy(vectors)
    torch.testing.assert_close(vision.decode(vision.encode(seen)[0]), seen, rtol=1e-6, atol=1e-4)


def test_a_bundle_stores_the_scale_exactly(vision):
    for buffer in half_precision(vision).state_dict().values():
        torch.testing.assert_close(buffer.half().float(), buffer, rtol=0, atol=0)


def test_numbers_too_large_to_store_are_refused_by_their_place():
    with pytest.raises(ValueError, match=r"observation 1 has mean 1e\+06.*TransformObservation"):
        VectorScale.fitted(torch.tensor([[0.0, 1e6], [1.0, 1e6]]))


def test_numbers_whose_changes_are_too_small_to_be_seen_are_logged(caplog):
    rng = np.random.default_rng(0)
    seen = rng.normal([0, 1e-6, 1000.2, 3000, 7], [1, 3e-5, 0.01, 1000, 0], (99, 5))
    VectorScale.fitted(torch.from_numpy(seen.astype(np.float32)))
    told = [record.args[0] for record in caplog.records]
    assert told == [1, 2]


def test_a_converter_takes_what_its_v_sees(vision, vectors):
    mu, logvar = FramesToLatentConverter(vision, mixed_precision=True).convert(vectors)
    np.testing.assert_array_equal(mu, vision.encode(torch.from_numpy(vectors))[0].numpy())
    assert logvar.shape == mu.shape
    with pytest.raises(ValueError, match=r"vectors must be \(B, 4\), not \(2, 3\)"):
        FramesToLatentConverter(vision).convert(np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match="frames, but V takes vectors"):
        FramesToLatentConverter(vision).convert(np.zeros((2, 8, 8, 3), np.uint8))


def test_a_checkpoint_says_what_its_v_sees(vision, tmp_path):
    save_vision(ConvVAE(3, (20, 30, 1)), tmp_path / "frames.pth")
    assert load_vision(tmp_path / "frames.pth").frame_shape == (20, 30, 1)
    assert isinstance(vision, VectorScale)
