"""Shared by the training tests."""

from concurrent.futures import Executor, Future
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.signals import Signal
from dreamserve_training.envs import EnvSpec
from dreamserve_training.export import export_world, make_bank, round_to_half, world_spec
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.runs import pools


class Inline(Executor):
    """Runs jobs in this process."""

    def submit(self, function, *arguments):
        job = Future()
        job.set_result(function(*arguments))
        return job


@pytest.fixture
def inline(monkeypatch):
    """Collect, evolve and evaluate in this process: a worker takes seconds to start."""

    @contextmanager
    def pool(count):
        yield Inline()

    monkeypatch.setitem(pools.POOLS, "local", pool)


@pytest.fixture(scope="session")
def vizdoom():
    """Require the game."""
    return pytest.importorskip("vizdoom", reason="pip install 'dreamserve-training[vizdoom]'")


@pytest.fixture(scope="session")
def tiny_models():
    """Return small untrained (ConvVAE, MDNRNN) with z 4, an LSTM of 8 and three actions."""
    torch.manual_seed(0)
    vae, mdnrnn = ConvVAE(4), MDNRNN(4, 3, rnn_size=8, num_mixtures=2, predict_done=True)
    with torch.no_grad():
        mdnrnn.done_head.weight.mul_(10.0)  # dreams end, but not all at once
        mdnrnn.done_head.bias.fill_(-0.6)
    return round_to_half(vae, mdnrnn)


@pytest.fixture(scope="session")
def take_cover():
    """Return Take Cover's entry, as its recipe and the game give it, without the game."""
    return EnvSpec(
        env="vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1",
        env_id="VizdoomTakeCover-v1",
        observation=FrameSpec(
            source_shape=(240, 320, 3),
            crop=Crop(top=40, bottom=200, left=0, right=320),
            shape=(64, 64, 3),
        ),
        action_space=DiscreteSpace(n=3, names=("noop", "right", "left")),
        max_episode_steps=2100,
        part="screen",
    )


@pytest.fixture(scope="session")
def tiny_bundle(tiny_models, take_cover, tmp_path_factory):
    """Export the tiny models; return the folder of a bundle that resembles Take Cover's."""
    return export_tiny(tmp_path_factory.mktemp("tiny"), take_cover, *tiny_models)


@pytest.fixture(scope="session")
def hurting_bundle(take_cover, tmp_path_factory):
    """Export a small untrained world like `tiny_bundle`, which has the signal `hit`."""
    torch.manual_seed(0)
    hit = Signal("health", "falls").head()
    mdnrnn = MDNRNN(4, 3, rnn_size=8, num_mixtures=2, predict_done=True, signals={"hit": hit})
    models = round_to_half(ConvVAE(4), mdnrnn)
    return export_tiny(tmp_path_factory.mktemp("hurting"), take_cover, *models)


def export_tiny(directory, env, vae, mdnrnn):
    """Export models of z 4 in `directory`, with a bank of noise; return the bundle."""
    rng = np.random.default_rng(0)
    for index in range(4):
        steps = 20 + index
        episode = {
            "mu": rng.normal(size=(steps, 4)).astype(np.float16),
            "logvar": np.full((steps, 4), -2, np.float16),
            "actions": rng.integers(3, size=steps),
            "rewards": np.ones(steps, np.float32),
            "terminated": np.arange(steps) == steps - 1,
        }
        latents = directory / "latents"
        latents.mkdir(exist_ok=True)
        save_episode(latents / f"episode-{index}.npz", episode)
    return export_world(
        directory / "tiny",
        spec=world_spec("tiny", env, mdnrnn, constant_reward=1.0),
        vae=vae,
        memory=mdnrnn,
        bank=make_bank(mdnrnn, latents, size=8, max_burn_in=4),
        origin={},
        quality={},
    )
