"""What `write_bundle` is given is tried before anything is traced, and refused by name."""

import numpy as np
import pytest
import torch

from dreamserve.bundle import load_bundle
from dreamserve.heads import Deterministic
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, SignalSpec, TensorSpec, WorldSpec
from dreamserve.observations import VectorSpec
from dreamserve.spaces import MultiDiscreteSpace
from dreamserve_training.export import ExportError, WorldGraphs, write_bundle
from dreamserve_training.export.given import check_bank, check_modules
from dreamserve_training.validation import validate

SPEC = WorldSpec(
    name="given",
    action_space=MultiDiscreteSpace(nvec=(3, 2), names=("move", "gear")),
    observation=VectorSpec(names=("place", "speed"), low=(None, None), high=(None, None)),
    latent_size=4,
    recurrent_state=(TensorSpec(name="window", shape=(5, 6)),),
    head=Deterministic(),
    has_decode=False,
    noise=NoiseSpec(normal=0, uniform=0),
    signals=(SignalSpec(name="value", description="return to come"),),
    temperature_rule="paper",
    done=DoneRule(),
    reward=RewardRule(kind="head"),
)
BANK = {
    "mean": np.zeros((8, 4)),
    "state.window": np.random.default_rng(0).random((8, 5, 6)),
    "age": np.arange(8),
}


class Encode(torch.nn.Module):
    def forward(self, vectors):
        return torch.cat([vectors, vectors], dim=1)


class Step(torch.nn.Module):
    """A step whose outputs by name, and inputs, `change` may change."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, latent, action, window, temperature, noise):
        of = {"next_latent": latent, "reward": latent[:, 0], "done_logit": latent[:, 1]}
        of |= {"next_window": window, "mean": latent, "value": latent[:, 2]}
        given = {"action": action, "window": window, "temperature": temperature}
        return tuple((of | self.change(of | given)).values())


def modules(change):
    return WorldGraphs(Encode(), Step(change)).by_name()


def written(folder, change, **fields):
    """Write the bundle of a step that `change` changes; return its path."""
    graphs = WorldGraphs(Encode().eval(), Step(change).eval())
    given = {"spec": SPEC, "graphs": graphs, "bank": BANK, "origin": {}, "quality": {}}
    return write_bundle(folder / "given", **given | fields)


def test_modules_and_a_bank_that_are_those_of_the_spec_pass():
    check_modules(SPEC, modules(lambda of: {}), BANK)
    check_bank(SPEC, BANK)
    check_bank(SPEC, {name: array for name, array in BANK.items() if name != "age"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: {"next_window": of["window"].double()},
            r"step: next_window must be \(3, 5, 6\) float32 for a batch of 3, is .* float64",
        ),
        (lambda of: {"reward": of["reward"][:, None]}, r"reward must be \(3,\) .*, is \(3, 1\)"),
        (lambda of: {"more": of["value"]}, "must return 6 tensors, next_latent, .*; it returns 7"),
        (
            lambda of: {"mean": of["mean"].reshape(1, 4)},
            r"step: the module raises RuntimeError: shape '\[1, 4\]' .*; it was called with latent"
            r" \(3, 4\) float32, action \(3, 2\) int64, window \(3, 5, 6\) float32",
        ),
        (
            lambda of: {"value": torch.zeros(3)[of["action"][:, 0] + 1]},  # choices from 1, not 0
            "IndexError: index 3 is out of bounds",
        ),
        (
            lambda of: {"next_latent": of["mean"] / of["temperature"][:, None]},
            r"step: next_latent is NaN or infinite at temperature 0.0 and action \[1, 1\]",
        ),
        (
            lambda of: {"reward": of["reward"] + torch.randn(of["reward"].shape)},
            "step: reward changes from call to call; randomness comes from the input noise only",
        ),
        (
            lambda of: {"next_window": of["window"] - of["window"].mean(0)},
            "step: next_window changes with the other rows of its batch; reduce over features",
        ),
    ],
)
def test_a_module_that_does_not_fit_is_refused_by_graph_and_tensor(change, message):
    with pytest.raises(ExportError, match=message):
        check_modules(SPEC, modules(change), BANK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": BANK["state.window"]}, r"the bank must hold .*, not \[.*'window'\]"),
        (
            {"state.window": np.zeros((8, 6, 5))},
            r"must be \(8, 5, 6\), is \(8, 6, 5\)",
        ),
        ({"state.window": torch.zeros(8, 5, 6)}, "state.window must be a numpy array, is a Tensor"),
        ({"age": np.arange(8) / 2}, "age must be whole numbers of steps, from 0 on"),
        ({"age": np.arange(8) - 1}, "age must be whole numbers of steps, from 0 on"),
        (
            {"state.window": np.zeros((7, 5, 6))},
            r"must be \(8, 5, 6\), is \(7, 5, 6\)",
        ),
    ],
)
def test_a_bank_that_does_not_fit_is_refused_before_anything_is_traced(change, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        written(tmp_path, lambda of: {}, bank=BANK | change)
    assert not list(tmp_path.iterdir())


def test_states_that_never_occur_are_not_tried(tmp_path):
    def counts(of):  # how many moments the window holds: no root of a number below 0
        return {"next_window": torch.clamp(of["window"] + 1, max=5), "value": roots(of)}

    def roots(of):
        return of["window"].sqrt()[:, 0, 0]

    report = validate(written(tmp_path, counts))
    assert report.passed, str(report)


def test_a_world_whose_last_bits_vary_with_the_batch_is_warned_of(tmp_path, caplog):
    def softplus(of):
        return {"value": torch.nn.functional.softplus(of["mean"][:, :3]).exp().sum(1)}

    with caplog.at_level("WARNING", "dreamserve_training"):
        bundle = written(tmp_path, softplus, torchscript=False)
    told = "on the CPU a row's last bits depend on its batch" in caplog.text
    quality = load_bundle(bundle).manifest.quality["parity"]
    assert told is not quality["onnx_cpu_same_bits_in_every_batch"]
