"""The validation suite passes valid worlds and names the faults of invalid ones."""

import shutil

import numpy as np
import pytest
import torch

from dreamserve.backends.base import StepOutput
from dreamserve.backends.fake import KINDS, FakeBackend, fake_spec
from dreamserve.engine.world import World
from dreamserve.trust import Trust
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.validation import dreams, graphs, validate, validate_models
from dreamserve_training.validation.report import CheckFailed, Report


class Altered:
    """A backend whose step outputs are passed through `change`."""

    def __init__(self, backend, change):
        self.backend, self.change, self.name = backend, change, "altered"
        self.encode, self.decode = backend.encode, backend.decode

    def step(self, batch):
        output = self.backend.step(batch)
        fields = {name: getattr(output, name) for name in StepOutput.__slots__}
        return StepOutput(**{**fields, **self.change(batch, output)})


@pytest.fixture
def world(tiny_models):
    return world_from_models(*tiny_models)


def altered(world, change):
    return World(world.spec, Altered(world.backend, change))


def named(report):
    return {check.name: check for check in report.checks}


@pytest.mark.slow
def test_a_sound_bundle_passes_every_check_on_both_backends(tiny_bundle):
    report = validate(tiny_bundle, Trust(trust_torchscript=True))
    assert report.passed, str(report)
    checks = named(report)
    for name in ("shapes", "finite", "extremes", "sampling", "temperature", "independent rows"):
        assert {f"{name} (onnx)", f"{name} (torch)"} <= set(checks)
    for name in ("parity", "long dreams", "independent dreams", "environment", "memory", "speed"):
        assert name in checks
    assert str(report).startswith(f"bundle {tiny_bundle}\n")
    assert "all checks passed" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["joint", "per_dimension", "isotropic"])
def test_sound_models_pass_whatever_their_head(head):
    torch.manual_seed(0)
    mdnrnn = MDNRNN(4, 2, 8, 3, head, predict_reward=True, discrete_actions=head != "joint")
    report = validate_models(ConvVAE(4), mdnrnn)
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", ["vector", "without decode", "categorical"])
def test_worlds_that_show_no_frames_or_have_another_head_are_environments_too(kind):
    spec = fake_spec(**KINDS[kind])
    assert "check_env" in dreams.environment(World(spec, FakeBackend(spec)))


def test_a_corrupt_bundle_is_a_failed_check_that_names_the_file(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with (bundle / "step.onnx").open("r+b") as file:
        file.write(b"oops")
    report = validate(bundle)
    assert not report.passed
    assert "step.onnx" in named(report)["load (onnx)"].detail
    assert "FAIL" in str(report)


def test_a_missing_bundle_is_a_failed_check(tmp_path):
    report = validate(tmp_path / "none")
    assert [check.passed for check in report.checks] == [False]
    assert "no such folder" in str(report)


def test_models_with_broken_weights_or_that_do_not_fit_are_named():
    mdnrnn = MDNRNN(4, 3, 8)
    with torch.no_grad():
        mdnrnn.mdn_head.weight[0, 0] = torch.nan
    report = validate_models(ConvVAE(4), mdnrnn)
    assert "M: mdn_head.weight holds NaN" in named(report)["models: weights"].detail
    mismatch = validate_models(ConvVAE(8), MDNRNN(4, 3, 8))
    assert "8 latents, M has 4" in named(mismatch)["models: forward"].detail
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        validate_models("nowhere.pth", MDNRNN(4, 3, 8))


FAULTS = {
    "a shape": (
        graphs.shapes,
        lambda batch, out: {"reward": out.reward[:, None]},
        r"reward is \(1, 1\) float32, must be \(1,\)",
    ),
    "a type": (
        graphs.shapes,
        lambda batch, out: {"latent": out.latent.astype(np.float64)},
        "next_latent is .* float64",
    ),
    "a NaN": (
        graphs.finite,
        lambda batch, out: {"done_logit": np.where(batch.action == 1, np.nan, out.done_logit)},
        "done_logit holds NaN",
    ),
    "an overflow": (
        graphs.extremes,
        lambda batch, out: {"latent": np.where(np.abs(batch.latent) > 50, np.inf, out.latent)},
        "next_latent holds NaN or infinity",
    ),
    "a wide sigma": (
        graphs.sampling,
        lambda batch, out: {"head": (*out.head[:2], out.head[2] - np.float32(0.1))},
        "off by .* standard errors",
    ),
    "a cold that is not cold": (
        graphs.temperature,
        lambda batch, out: {"latent": out.latent + np.float32(0.01)},
        "off the most likely component's mean",
    ),
    "rows that meet": (
        graphs.independent_rows,
        lambda batch, out: {"latent": out.latent + out.latent.mean() * np.float32(1e-6)},
        "depend on the other rows",
    ),
    "dreams that meet": (
        dreams.independent_dreams,
        lambda batch, out: {"reward": out.reward + np.float32(len(out.reward))},
        "differs at step 1",
    ),
    "a runaway": (
        dreams.long_dreams,
        lambda batch, out: {"latent": batch.latent * np.float32(1.1) + np.float32(0.1)},
        "a latent is 1.*e\\+03|a latent is 1[0-9]{3}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_check(world, fault):
    check, change, message = FAULTS[fault]
    with pytest.raises(CheckFailed, match=message):
        check(altered(world, change))


def test_backends_that_disagree_are_detected(world):
    other = altered(world, lambda batch, out: {"reward": out.reward + np.float32(0.01)})
    report = Report("pair")
    assert not report.run("parity", lambda: graphs.parity(world, other))
    assert "altered differs" in report.checks[0].detail


def test_a_check_that_raises_is_a_failure_and_hides_no_other():
    report = Report("thing")

    def broken():
        raise KeyError("h")

    assert not report.run("broken", broken)
    assert report.run("sound", lambda: "fine")
    assert "raised KeyError" in report.checks[0].detail
    assert "1 of 2 checks failed" in str(report)
    assert not report.passed
