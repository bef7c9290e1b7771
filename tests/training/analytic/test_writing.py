"""Analytic worlds as bundles: the service computes what the formulas say."""

from dataclasses import replace

import numpy as np
import pytest

from dreamserve.bundle import load_bundle
from dreamserve.local import DreamBatch, LocalClient
from dreamserve_protocol.common import Start
from dreamserve_training.evaluation.analytic import Bandit, numpy_world, write_world
from dreamserve_training.export import ExportError

NAMES = ("linear", "linear-noisy", "tree", "tree-deceptive", "tree-ending", "bandit")


def random_actions(world, count, seed=0):
    """Random actions (count,) or (count, A) of any world."""
    space, rng = world.spec.action_space, np.random.default_rng(seed)
    if space.type == "Discrete":
        return rng.integers(space.n, size=count)
    return rng.uniform(space.low, space.high, (count, *space.shape)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_were_checked_against_numpy_in_every_batch_size(written, name):
    proven = load_bundle(written(name)).manifest.quality["parity"]
    assert set(proven["worst_relative_difference"]) == {"onnx", "torchscript"}
    assert max(proven["worst_relative_difference"].values()) < 1e-6
    assert proven["onnx_cpu_same_bits_in_every_batch"]


def test_an_analytic_world_says_that_it_has_no_policy(loaded):
    analytic, _ = loaded("bandit")
    with pytest.raises(ValueError, match="no policy"):
        numpy_world(analytic).backend.policy(np.zeros((1, 1), np.float32), ())


@pytest.mark.parametrize("name", NAMES)
def test_sessions_step_as_numpy_does_at_any_temperature(loaded, name):
    analytic, world = loaded(name)
    dreams = [LocalClient(world), LocalClient(numpy_world(analytic, name))]
    for temperature in (0.0, 1.0):
        fields = {"seed": 3, "temperature": temperature, "start": Start(bank=0)}
        starts = [dream.reset(**fields) for dream in dreams]
        np.testing.assert_array_equal(starts[0].latent, starts[1].latent)
        for action in random_actions(world, 6):
            one, other = (
                dream.step(session_id=start.session_id, action=action)
                for dream, start in zip(dreams, starts, strict=True)
            )
            np.testing.assert_allclose(one.latent, other.latent, atol=1e-5)
            assert one.reward == pytest.approx(other.reward, abs=1e-5)
            assert one.terminated == other.terminated


@pytest.mark.parametrize("name", NAMES)
def test_a_dream_begins_exactly_where_the_bank_says(loaded, name):
    analytic, world = loaded(name)
    entries = np.arange(world.bank_size)
    batch = DreamBatch(world, seeds=entries + 5, starts=entries)
    np.testing.assert_array_equal(batch.latent, analytic.bank()["mu"])


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_encodes_the_latent_within_its_range(loaded, name):
    analytic, world = loaded(name)
    size = world.spec.latent_size
    latent = np.linspace(-0.9, 0.9, 5 * size, dtype=np.float32).reshape(5, size) * analytic.reach
    frames = world.backend.decode(latent)
    assert frames.shape == (5, 1, size, 3)
    mu, logvar = world.backend.encode(frames)
    np.testing.assert_allclose(mu, latent, atol=1e-5 * analytic.reach)
    assert (np.exp(logvar / 2) == 0).all()


def test_a_graph_that_is_not_the_formula_is_not_written(tmp_path):
    class Wrong(Bandit):
        def step(self, batch):
            return super().step(replace(batch, action=1 - batch.action))

    with pytest.raises(ExportError, match="differs from numpy"):
        write_world(tmp_path / "wrong", Wrong())
    assert not list(tmp_path.iterdir())
