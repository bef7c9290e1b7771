"""The exported graphs as modules: equal to the models, also at extreme temperatures."""

import itertools
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.special import softmax

from dreamserve import noise
from dreamserve.backends.fake import SPACES
from dreamserve.backends.torch import TorchBackend
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.export import ModelBackend, spec_of
from dreamserve_training.export.formats import write_onnx, write_torchscript
from dreamserve_training.export.graphs import NEVER_DONE, DecodeGraph, EncodeGraph, StepGraph
from dreamserve_training.export.parity import check_parity
from dreamserve_training.export.precision import half_precision
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.signals import SignalHead
from dreamserve_training.models.vae import ConvVAE

HEADS = ("joint", "per_dimension", "isotropic")
RULES = ("paper", "weights_only")
Z, A, R, K = 4, 3, 8, 5
FRAME = FrameSpec(
    source_shape=(80, 80, 3), crop=Crop(top=0, bottom=80, left=0, right=80), shape=(64, 64, 3)
)


def model(head="per_dimension", seed=0, **options):
    torch.manual_seed(seed)
    return MDNRNN(Z, A, R, K, head, **options).eval()


def inputs(head, batch, temperature=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latent, h, c = (torch.randn(batch, n, generator=generator) for n in (Z, R, R))
    uniforms = Z if head == "per_dimension" else 1
    random = torch.cat(
        [
            torch.randn(batch, Z, generator=generator),
            torch.rand(batch, uniforms, generator=generator).clamp(1e-6, 1 - 1e-6),
        ],
        dim=1,
    )
    action = torch.randint(A, (batch,), generator=generator)
    return latent, action, torch.tanh(h), c, torch.full((batch,), temperature), random


@pytest.mark.parametrize(
    ("head", "rule", "kind"),
    [
        *itertools.product(HEADS, RULES, ["Discrete"]),
        *(("joint", "paper", kind) for kind in SPACES if kind != "Discrete"),
    ],
)
def test_the_graphs_compute_what_the_models_compute(head, rule, kind):
    space = SPACES[kind]
    reward = 1.0 if isinstance(space, DiscreteSpace) else None
    torch.manual_seed(0)
    signals = {"hit": SignalHead("event", "", positive=9.0), "hp": SignalHead("level", "", scale=9)}
    options = {"predict_done": True, "predict_reward": reward is None, "action_space": space}
    mdnrnn = MDNRNN(Z, None, R, K, head, signals=signals, **options).eval()
    vae = ConvVAE(Z).eval()
    spec = spec_of("tiny", space, FRAME, mdnrnn, temperature_rule=rule, constant_reward=reward)
    modules = (EncodeGraph(vae), StepGraph(mdnrnn, rule, reward), DecodeGraph(vae))
    graphs = TorchBackend(spec, dict(zip(spec.graph_inputs(), modules, strict=True)))
    worst = check_parity(spec, ModelBackend(spec, vae, mdnrnn), {"graphs": graphs})
    assert 0 < worst["graphs"] < 1e-4


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rule", RULES)
def test_at_temperature_zero_the_step_is_the_most_likely_components_mean(head, rule):
    graph = StepGraph(model(head), rule, constant_reward=0.0)
    drawn, _, _, _, _, logits, mu, _ = graph(*inputs(head, 50, temperature=0.0))
    if head == "per_dimension":
        expected = mu.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)
    else:
        expected = mu[torch.arange(50), logits.argmax(1)]
    assert torch.equal(drawn, expected)


def test_at_temperature_zero_the_smallest_difference_decides():
    mdnrnn = model("joint")
    with torch.no_grad():
        mdnrnn.mdn_head.weight.zero_()
        mdnrnn.mdn_head.bias[:K] = torch.tensor([0.0, 1e-6, 0.0, 0.0, 0.0])
    drawn, *_, mu, _ = StepGraph(mdnrnn, constant_reward=0.0)(*inputs("joint", 50, 0.0))
    assert torch.equal(drawn, mu[:, 1])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-38, 1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_no_temperature_yields_nan(head, rule, temperature):
    graph = StepGraph(model(head), rule, constant_reward=0.0)
    for output in graph(*inputs(head, 20, temperature)):
        assert torch.isfinite(output).all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.15])
def test_a_steps_draws_have_the_mixtures_own_moments(head, temperature):
    draws = 100_000
    graph = StepGraph(model(head, seed=3), "paper", constant_reward=0.0)
    latent, action, h, c, _, _ = (part[:1] for part in inputs(head, 1))
    uniforms = Z if head == "per_dimension" else 1
    keys = noise.keys(np.arange(draws, dtype=np.uint64), np.ones(draws, np.int64), noise.STEP)
    random = torch.from_numpy(noise.draw(keys, Z, uniforms))
    same = [part.expand(draws, *part.shape[1:]) for part in (latent, action, h, c)]
    with torch.inference_mode():
        drawn, *_, logits, mu, log_sigma = graph(*same, torch.full((draws,), temperature), random)
    weights = softmax(logits[0].double().numpy() / temperature, axis=0).reshape(K, -1)
    mu, log_sigma = mu[0].double().numpy(), log_sigma[0].double().numpy().reshape(K, -1)
    mean = (weights * mu).sum(0)
    variance = (weights * (np.exp(2 * log_sigma) * temperature + mu**2)).sum(0) - mean**2
    drawn = drawn.double().numpy()
    assert (np.abs(drawn.mean(0) - mean) < 5 * np.sqrt(variance / draws)).all()
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.03)


def test_a_row_does_not_depend_on_the_others_temperature():
    graph = StepGraph(model(), constant_reward=0.0)
    parts = inputs("per_dimension", 8)
    mixed = (*parts[:4], torch.tensor([1.0, 0.0, 5.0, 1e-30, 1.0, 0.1, 2.0, 1.0]), parts[5])
    torch.testing.assert_close(graph(*mixed)[0][0], graph(*parts)[0][0])
    torch.testing.assert_close(graph(*mixed)[0][7], graph(*parts)[0][7])


def test_reward_and_done_come_from_their_heads_or_are_constant():
    parts = inputs("per_dimension", 6)
    plain = StepGraph(model(), constant_reward=0.25)(*parts)
    assert torch.equal(plain[1], torch.full((6,), 0.25))
    assert torch.equal(plain[2], torch.full((6,), NEVER_DONE))
    mdnrnn = model(predict_reward=True, predict_done=True)
    outputs = StepGraph(mdnrnn)(*parts)
    h = outputs[3]
    torch.testing.assert_close(outputs[1], mdnrnn.reward_head(h).squeeze(-1))
    torch.testing.assert_close(outputs[2], mdnrnn.done_head(h).squeeze(-1))


@pytest.mark.parametrize(("has_head", "constant"), [(True, 1.0), (False, None)])
def test_a_reward_with_two_sources_or_none_is_refused(has_head, constant):
    with pytest.raises(ValueError, match="constant_reward"):
        StepGraph(model(predict_reward=has_head), "paper", constant)


def test_making_graphs_leaves_the_models_as_they_were():
    vae, mdnrnn = ConvVAE(Z).train(), model().train()
    graphs = EncodeGraph(vae), DecodeGraph(vae), StepGraph(mdnrnn, constant_reward=0.0)
    assert vae.training
    assert vae.encoder.training
    assert mdnrnn.training
    for graph in graphs:
        for weight in graph.parameters():
            weight.data.zero_()
    assert all(bool(part.weight.any()) for part in (vae.mu_head, mdnrnn.mdn_head))


@pytest.mark.parametrize("head", HEADS)
def test_one_component_is_a_gaussian(head):
    torch.manual_seed(0)
    graph = StepGraph(MDNRNN(Z, A, R, 1, head).eval(), "paper", constant_reward=0.0)
    drawn, *_, mu, log_sigma = graph(*(given := inputs(head, 6, temperature=0.49)))
    sigma = torch.exp(log_sigma.reshape(6, -1))  # (B, Z), or (B, 1) of an isotropic one
    torch.testing.assert_close(drawn, mu[:, 0] + 0.7 * sigma * given[-1][:, :Z])


def test_a_step_with_one_component_is_written_in_both_formats(tmp_path):
    torch.manual_seed(0)
    memory = half_precision(MDNRNN(Z, A, R, 1, "per_dimension"))
    graph, path = StepGraph(memory, "paper", constant_reward=0.0), tmp_path / "step.onnx"
    spec = spec_of("one", SPACES["Discrete"], FRAME, memory, constant_reward=0.0)
    names, outputs = (tuple(part["step"]) for part in (spec.graph_inputs(), spec.graph_outputs()))
    write_onnx(graph, inputs("per_dimension", 2), names, outputs, path)
    given = inputs("per_dimension", 5)
    feed = {name: part.numpy() for name, part in zip(names, given, strict=True)}
    found = onnxruntime.InferenceSession(path).run(None, feed)
    write_torchscript(graph, inputs("per_dimension", 2), tmp_path / "step.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript itself
        scripted = torch.jit.load(tmp_path / "step.pt").float()(*given)
    for actual, other, expected in zip(found, scripted, graph(*given), strict=True):
        np.testing.assert_allclose(actual, expected.detach().numpy(), atol=1e-5)
        torch.testing.assert_close(other, expected)
