"""Another core of M is one class and one row: it trains, is saved, exported, served and validated.

The GRU below is sufficient; nothing in the package refers to it.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.export import export_world, make_bank, round_to_half, world_spec
from dreamserve_training.models.catalog import CORES, load_memory, make_memory
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.recurrent import RecurrentModel, linear
from dreamserve_training.models.signals import SignalHead
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.train.memory import train_memory
from dreamserve_training.validation import validate, validate_models

Z, A, R = 4, 3, 8


class GRU(RecurrentModel):
    name = "gru"
    state_names = ("h",)

    def make_core(self):
        self.gru = nn.GRU(self.z_dim + self.action_dim, self.rnn_size, batch_first=True)

    def run_core(self, inputs, *state):
        outputs, h = self.gru(inputs, state[0].unsqueeze(0))
        return outputs, (h.squeeze(0),)

    def cell(self):
        return GRUCell(self.gru)


class GRUCell(nn.Module):
    def __init__(self, gru):
        super().__init__()
        self.enter = linear(gru.weight_ih_l0, gru.bias_ih_l0)
        self.stay = linear(gru.weight_hh_l0, gru.bias_hh_l0)

    def forward(self, latent, action, h):
        r, z, n = self.enter(torch.cat([latent, action], dim=-1)).chunk(3, dim=-1)
        hr, hz, hn = self.stay(h).chunk(3, dim=-1)
        update = torch.sigmoid(z + hz)
        new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        return ((1 - update) * new + update * h,)


@pytest.fixture
def gru(monkeypatch):
    """Add the GRU to the catalog; return a model made by its name."""
    monkeypatch.setitem(CORES, GRU.name, GRU)
    torch.manual_seed(0)
    signals = {"hit": SignalHead("event", "a hit", positive=4.0), "hp": SignalHead("level", "")}
    options = {"rnn_size": R, "num_mixtures": 2, "predict_done": True}
    return make_memory("gru", z_dim=Z, action_dim=A, signals=signals, **options)


def sequences(count=8, length=10):
    """Return sequences in which each action moves every latent in its own direction."""
    rng = np.random.default_rng(0)
    push = rng.normal(size=(A, Z)).astype(np.float32)
    actions = [rng.integers(A, size=length) for _ in range(count)]
    zs = [np.concatenate([np.zeros((1, Z)), push[a[:-1]]]).astype(np.float32) for a in actions]
    hurt = [np.stack([a == 0, a], axis=1) for a in actions]
    return DataLoader(SequenceDataset(zs, actions, signals=hurt), batch_size=4)


def test_another_core_trains_and_is_read_back_by_its_own_name(gru, tmp_path):
    batches = sequences()
    options = {"epochs": 8, "lr": 0.02, "save_dir": str(tmp_path), "mixed_precision": False}
    before = float(gru.losses(next(iter(batches)), LossWeights())["nll"].detach())
    result = train_memory(gru, batches, options)
    assert float(gru.losses(next(iter(batches)), LossWeights())["nll"].detach()) < before - 0.3
    assert result.path == tmp_path / "gru_best.pth"
    again = load_memory(result.path)
    assert isinstance(again, GRU)
    assert all(map(torch.equal, again.state_dict().values(), gru.state_dict().values()))


def test_another_core_is_exported_validated_and_served(gru, tiny_bundle, tmp_path, take_cover):
    vae, memory = round_to_half(ConvVAE(Z), gru)
    folder = export_world(
        tmp_path / "gru",
        spec=world_spec("gru", take_cover, memory, constant_reward=1.0),
        vae=vae,
        memory=memory,
        bank=make_bank(memory, tiny_bundle.parent / "latents", size=4, max_burn_in=4),
        origin={},
        quality={},
    )
    world = load_world(folder)
    assert [(part.name, part.shape) for part in world.spec.recurrent_state] == [("h", (R,))]
    dream = LocalClient(world)
    session = dream.reset(seed=1).session_id
    step = dream.step(session_id=session, action=2, include=["signals", "state"])
    h = torch.from_numpy(np.asarray(step.state["h"], np.float32)).reshape(1, R)
    logit, level = memory.signals_head(h)[0]
    probability = torch.sigmoid(logit - math.log(4)).item()
    assert step.signals == pytest.approx({"hit": probability, "hp": level.item()}, rel=1e-3)
    assert validate(folder).passed


def test_another_core_passes_validation_before_any_export(gru):
    report = validate_models(ConvVAE(Z), gru)
    assert report.passed, str(report)


def test_a_core_that_is_not_in_the_table_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no memory model 'transformer'; known models: mdnrnn"):
        make_memory("transformer", z_dim=Z, action_dim=A)
    torch.save({"core": "gru", "config": {}, "state_dict": {}}, tmp_path / "g.pth")
    with pytest.raises(CheckpointError, match=r"g\.pth: not a checkpoint of M \('gru'\)"):
        load_memory(tmp_path / "g.pth")


def test_a_checkpoint_without_a_cores_name_is_an_mdnrnn(tmp_path):
    model = make_memory("mdnrnn", z_dim=Z, action_dim=A, rnn_size=R)
    content = {"config": model.config, "state_dict": model.state_dict()}
    torch.save(content, tmp_path / "old.pth")
    assert load_memory(tmp_path / "old.pth").name == "mdnrnn"
