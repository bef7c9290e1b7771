"""A model of a kind that nothing here was made for becomes a world by `write_bundle` alone."""

import numpy as np
import pytest
import torch
from torch import nn

from dreamserve.heads import Deterministic
from dreamserve.local import LocalClient
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, SignalSpec, TensorSpec, WorldSpec
from dreamserve.observations import VectorSpec
from dreamserve.spaces import BoxSpace
from dreamserve.testing import check_bundle
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_training.export import ExportError, WorldGraphs, half_precision, write_bundle
from dreamserve_training.export.formats import write_onnx

NUMBERS, WIDTH, TOKENS, Z = 4, 8, 6, 6

SPEC = WorldSpec(
    name="attention",
    action_space=BoxSpace(low=(-1.0, 0.0), high=(1.0, 3.0), names=("steer", "gas")),
    observation=VectorSpec(names=tuple("wxyz"), low=(None,) * 4, high=(None,) * 4),
    latent_size=Z,
    recurrent_state=(TensorSpec(name="context", shape=(TOKENS, WIDTH)),),
    head=Deterministic(),
    noise=NoiseSpec(normal=0, uniform=0),
    temperature_rule="paper",
    done=DoneRule(rule="drawn"),
    reward=RewardRule(kind="head"),
    has_decode=False,
    signals=(SignalSpec(name="uncertainty", description="of this step"),),
)


class Attention(nn.Module):
    """Attention over the last tokens, which are the memory; a deterministic latent."""

    def __init__(self):
        super().__init__()
        self.token = nn.Linear(Z + 2, WIDTH)
        self.attend = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
        self.position = nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.following, self.heads = nn.Linear(WIDTH, Z), nn.Linear(WIDTH, 3)

    def forward(self, latent, action, context, temperature, noise):
        token = self.token(torch.cat([latent, action], 1))
        context = torch.cat([context[:, 1:], token[:, None]], 1)
        seen = self.attend(context + self.position)[:, -1]
        mean = torch.tanh(self.following(seen))
        reward, ends, uncertainty = self.heads(seen).unbind(1)
        return mean, reward, ends - 2, context, mean, uncertainty


@pytest.mark.slow
def test_attention_over_the_past_without_a_decoder_is_exported_checked_and_planned_with(tmp_path):
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(NUMBERS, Z), nn.Tanh())
    rng = np.random.default_rng(0)
    write_bundle(
        tmp_path / "world",
        spec=SPEC,
        graphs=WorldGraphs(half_precision(encode), half_precision(Attention())),
        bank={
            "mean": np.tanh(rng.standard_normal((8, Z), np.float32)),
            "state.context": rng.standard_normal((8, TOKENS, WIDTH), np.float32),
        },
        origin={},
        quality={},
        torchscript=False,
    )
    check_bundle(tmp_path / "world", strict=True)

    client = LocalClient(tmp_path / "world")
    seen = {"vectors": np.zeros((2, NUMBERS)), "actions": [[0.5, 2.0]]}
    session = client.reset(seed=1, start=seen).session_id
    objective = {"reward": 1, "signals": {"uncertainty": -0.5}}
    plan = client.plan(session, horizon=4, candidates=16, objective=objective)
    assert np.isfinite(
        client.step(session, plan.action, include=["signals"]).signals["uncertainty"]
    )
    with pytest.raises(InvalidRequestError, match="attention has no decoder"):
        client.step(session, plan.action, include=["vector"])


class OneSize(nn.Module):
    def forward(self, vectors):
        return vectors.reshape(len(vectors), 2, 2).sum(2)


def test_a_module_that_was_traced_for_one_batch_size_is_refused_with_what_to_change(tmp_path):
    says = r"x.onnx: the batch axis of vectors became the constant 2.*use x\.shape\[0\]"
    with pytest.raises(ExportError, match=says):
        write_onnx(
            OneSize().eval(), (torch.zeros(2, 4),), ("vectors",), ("mean",), tmp_path / "x.onnx"
        )
