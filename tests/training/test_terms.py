"""Losses are means over steps, whatever batches and processes the steps are spread over."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.training.latents import save_latents

from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.signals import SignalHead
from dreamserve_training.models.terms import Term, joined
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.train import guarded_module
from dreamserve_training.train.memory import MemoryLoop, TrainConfig, train_memory
from dreamserve_training.train.vae import VAEConfig, VAELoop

LENGTHS = (33, 65, 17, 1, 33, 129, 2, 65)
SIGNALS = {"hit": SignalHead("event", "a hit", positive=4.0)}


@pytest.fixture
def latents(tmp_path):
    """Return a folder of latent episodes of very different lengths."""
    rng = np.random.default_rng(0)
    for number, steps in enumerate(LENGTHS):
        save_latents(tmp_path / f"episode-{number}.npz", rng, steps, logvar=-9)
    return tmp_path


def memory(**options):
    torch.manual_seed(0)
    heads = {"predict_reward": True, "predict_done": True, **options}
    return MDNRNN(z_dim=4, action_dim=3, rnn_size=8, num_mixtures=2, **heads)


def test_a_held_out_loss_is_the_mean_over_all_steps_whatever_the_batch_size(latents, tmp_path):
    def windows(size):
        return create_window_loader(latents, batch_size=size, sequence_length=16, shuffle=False)

    losses = []
    for size in (1, 4, 64):
        config = {"epochs": 1, "lr": 0.0, "device": "cpu", "mixed_precision": False}
        config["save_dir"] = str(tmp_path / str(size))
        losses.append(train_memory(memory(), windows(size), config, windows(size)).best_loss)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)

    model, sums = memory().eval(), dict.fromkeys(("nll", "reward", "done"), 0.0)
    steps = dict.fromkeys(sums, 0)
    for batch in windows(1):
        means = model.losses(batch, LossWeights())
        for name in sums:
            count = int(batch["next_mask" if name == "nll" else "mask"].sum())
            sums[name] += float(means[name].detach()) * count
            steps[name] += count
    assert losses[0] == pytest.approx(sum(sums[name] / steps[name] for name in sums), rel=1e-4)


def test_a_loss_is_the_weighted_sum_of_its_terms_means_and_no_error_is_none():
    count = torch.tensor(4)
    terms = {
        "a": Term(torch.tensor(2.0), count),
        "b": Term(torch.tensor(6.0), count, 10.0),
        "c": Term(torch.tensor(0.0), torch.tensor(0), 3.0),
    }
    means = {name: value.item() for name, value in joined(terms).items()}
    assert means == {"loss": 15.5, "a": 0.5, "b": 1.5, "c": 0.0}


def mean_of_shares(loop, shares, monkeypatch):
    """Return the mean of the losses of two processes, which have these shares of a batch."""
    counts = [
        torch.stack([term.number.double() for term in loop.terms(share).values()])
        for share in shares
    ]
    monkeypatch.setattr(guarded_module, "summed", lambda numbers: sum(counts))
    loop.trainer = SimpleNamespace(world_size=2)
    return sum(loop.shared(loop.terms(share)) for share in shares) / 2


def test_two_processes_of_unequal_windows_have_the_gradient_of_one(latents, monkeypatch):
    model = memory(signals=SIGNALS)
    loop = MemoryLoop(model, TrainConfig(done_weight=2.0, signal_weight=3.0))
    batch = next(iter(create_window_loader(latents, 8, sequence_length=16, shuffle=True)))
    batch["signals"] = (torch.rand(*batch["rewards"].shape, 1) < 0.5).float()
    batch["signals"][:3] = torch.nan  # not known
    shares = [{name: rows[rank::2] for name, rows in batch.items()} for rank in (0, 1)]
    assert shares[0]["mask"].sum() != shares[1]["mask"].sum()
    whole = loop.loss_of(batch)
    shared = mean_of_shares(loop, shares, monkeypatch)
    torch.testing.assert_close(shared, whole)
    gradients = (torch.autograd.grad(loss, list(model.parameters())) for loss in (whole, shared))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_two_processes_of_unequal_rows_have_the_loss_of_one(monkeypatch):
    loop = VAELoop(ConvVAE(4).eval(), torch.zeros(64, 64, 3), VAEConfig(z_dim=4), steps=1)
    frames = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # a latent is its mean
    shared = mean_of_shares(loop, [frames[::2], frames[1::2]], monkeypatch)
    torch.testing.assert_close(shared, loop.loss_of(frames))
    loop.trainer = SimpleNamespace(world_size=1)
    torch.testing.assert_close(loop.shared(loop.terms(frames)), loop.loss_of(frames))
