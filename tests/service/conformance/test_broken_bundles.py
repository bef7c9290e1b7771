"""Each way to break a bundle is named for what it is, with what would be right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.conformance.suite import check_bundle

from .worlds import bank, write_world

STEP_IN = "float[b,2] latent, int64[b] action"
# What is broken: edits of graphs, of the bank, of the manifest; then what the finding must say.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "inputs in another order": (
        {"edits": {"step": (STEP_IN, "int64[b] action, float[b,2] latent")}},
        "graph step, inputs: must be ('latent', 'action',",
    ),
    "an output of another name": (
        {"edits": {"encode": ("float[b,2] logvar)", "float[b,2] small)")}},
        "graph encode, outputs: must be ('mu', 'logvar'), are ('mu', 'small')",
    ),
    "a fixed batch axis": (
        {"edits": {"decode": ("(float[b,2] latent)", "(float[2,2] latent)")}},
        "latent must be ['batch', 2] with a dynamic batch axis, is [2, 2]",
    ),
    "an action of another dtype": (
        {"edits": {"step": ("int64[b] action", "float[b] action")}},
        "action must be a tensor(int64), is a tensor(float)",
    ),
    "a tensor of another shape": (
        {"recurrent_state": [{"name": "h", "shape": [3]}, {"name": "c", "shape": [3, 1]}],
         "arrays": {"state.c": bank()["state.c"][:, :, None]}},
        "c must be ['batch', 3, 1], is ['b', 3]",
    ),
    "randomness of its own": (
        {"edits": {"step": ("width = Mul(sigma, root)", "width = RandomNormalLike(sigma)")}},
        "has the operator 'RandomNormalLike'; a bundle has no control flow, no randomness",
    ),
    "a batch size within the graph": (
        {"edits": {"decode": ("int64[4] shape = {-1,2,2,1}", "int64[4] shape = {2,2,2,1}")}},
        "graph decode of sound cannot be run",
    ),
    "an action that fails": (
        {"edits": {"step": ("number = Cast<to=1>(action)",
                            "slot = Gather(two, action)\n    number = Cast<to=1>(slot)")}},
        "step: fails on action 2:",
    ),
    "numbers that overflow": (
        {"edits": {"step": ("float keep = {0.8}", "float keep = {9}")}},
        "next_c holds NaN or infinity at step",
    ),
    "an end at once": (
        {"edits": {"step": ("done_logit = Sub(ending, one)", "done_logit = Exp(ending)")}},
        "done_logit ends every dream at its first step",
    ),
    "a probability of the end": (
        {"edits": {"step": ("done_logit = Sub(ending, one)", "done_logit = Sigmoid(ending)")}},
        "as probabilities are; return logits, which are negative where an end is unlikely",
    ),
    "a reward that is not the constant": (
        {"reward": {"kind": "constant", "value": 1.0}},
        "the manifest says constant 1; return it at every step",
    ),
    "rows that depend on each other": (
        {"edits": {"step": ("paid = MatMul(next_h, first)",
                            "all = ReduceMean(next_h, axis_0)\n    paid_ = Sub(next_h, all)\n"
                            "    paid = MatMul(paid_, first)")}},
        "step: reward depends on the other rows of its batch",
    ),
    "decoded rows that depend on each other": (
        {"edits": {"decode": ("grey = Add(flat, half)",
                              "all = ReduceMax(flat, axis_0)\n    bright = Sub(flat, all)\n"
                              "    grey = Add(bright, half)")}},
        "decode: frames depends on the other rows of its batch",
    ),
    "a normal that is not used": (
        {"edits": {"step": ("drawn = Mul(width, normals)",
                            "same, none = Split<axis=1,num_outputs=2>(normals)\n"
                            "    drawn = Mul(width, same)")}},
        "noise: normal number 1 changes nothing; the manifest declares 2 normals, then 1 uniforms",
    ),
    "a uniform that is not used": (
        {"edits": {"step": ("is_second = Greater(uniform, weight)",
                            "is_second = Greater(weight, weight)")}},
        "noise: uniform number 2 changes nothing",
    ),
    "uniforms first": (
        {"edits": {"step": ("normals, uniform = Split<axis=1>(noise, cut)",
                            "uniform, normals = Split<axis=1>(noise, cut_1)")}},
        "noise is used with its 1 uniforms first; normals come first",
    ),
    "a memory that depends on the noise": (
        {"edits": {"step": ("mixed = Add(next_c, heard)",
                            "shaken = ReduceSum(noise, axis)\n    moved = Add(heard, shaken)\n"
                            "    mixed = Add(next_c, moved)")}},
        "next_h depends on the noise; the recurrent tensors after a step follow from",
    ),
    "logits after temperature": (
        {"edits": {"step": ("mixture_logits = MatMul(next_h, choose)",
                            "cold = Unsqueeze(temperature, axis)\n    raw = MatMul(next_h, choose)"
                            "\n    mixture_logits = Mul(raw, cold)")}},
        "mixture_logits depends on the temperature; return the numbers before temperature",
    ),
    "NaN at temperature 0": (
        {"edits": {"step": ("width = Mul(sigma, root)",
                            "unit = Div(hot, hot)\n    wide = Mul(sigma, unit)\n"
                            "    width = Mul(wide, root)")}},
        "next_latent holds NaN or infinity at temperature 0; do not divide by it",
    ),
    "noise at temperature 0": (
        {"edits": {"step": ("width = Mul(sigma, root)", "width = Identity(sigma)")}},
        "next_latent depends on the noise at temperature 0",
    ),
    "not the most likely at temperature 0": (
        {"edits": {"step": ("is_second = Greater(uniform, weight)",
                            "is_second = Less(uniform, weight)")}},
        "off the most likely alternative of mixture_logits, mixture_mu, mixture_log_sigma",
    ),
    "another rule of temperature": (
        {"edits": {"step": ("width = Mul(sigma, root)",
                            "cold_ = Greater(hot, least)\n    is_hot = Cast<to=1>(cold_)\n"
                            "    width = Mul(sigma, is_hot)")}},
        "the draw follows temperature_rule weights_only, the manifest says paper",
    ),
    "the variance in place of sigma": (
        {"edits": {"step": ("sigma = Exp(log_sigma)",
                            "doubled = Add(log_sigma, log_sigma)\n    sigma = Exp(doubled)")}},
        "does not have the variance that mixture_logits, mixture_mu, mixture_log_sigma describe",
    ),
    "a latent that is only a mean": (
        {"edits": {"step": ("next_latent = Add(mean, drawn)",
                            "nothing = Sub(drawn, drawn)\n    next_latent = Add(mean, nothing)")}},
        "the noise has no effect; the latent is a mean",
    ),
    "swapped recurrent outputs": (
        {"edits": {"step": (
            "next_c = Add(kept, heard)\n    mixed = Add(next_c, heard)\n    next_h = Tanh(mixed)",
            "next_h = Add(kept, heard)\n    mixed = Add(next_h, heard)\n    next_c = Tanh(mixed)")},
         "arrays": {"state.c": 4 * bank()["state.c"]}},
        "next_h continues c and next_c continues h",
    ),
    "a bank of one moment, many times": (
        {"arrays": {name: array[:1].repeat(5, axis=0) for name, array in bank().items()}},
        "bank: all 5 moments are equal; real ones differ",
    ),
    "a variance in place of its logarithm": (
        {"arrays": {"logvar": np.full((20, 2), 12, np.float32)}},
        "logvar is 12 in moment 0, a sigma of 403; it is the logarithm of the variance",
    ),
    "a bank with NaN": (
        {"arrays": {"mu": np.full((20, 2), np.nan, np.float32)}},
        "bank.npz: mu holds NaN or infinity",
    ),
    "frames in another range": (
        {"edits": {"decode": ("pixels = Clip(grey, low, high)", "pixels = Exp(grey)")}},
        "the manifest's value_range is [0, 1]",
    ),
    "a controller of another shape": ({"controller": True}, "weights must be (3, 2), is (2, 3)"),
}  # fmt: skip
# Allowed, but hardly meant.
DOUBTFUL: dict[str, tuple[dict[str, Any], str]] = {
    "never ends": (
        {"done": {"rule": "threshold", "threshold": 1000.0}},
        "done_logit ends no dream within 200 steps",
    ),
    "ignores the action": (
        {"edits": {"step": ("push = Unsqueeze(centred, axis)",
                            "zero = Sub(centred, centred)\n    push = Unsqueeze(zero, axis)")}},
        "the action changes no output",
    ),
    "a reward that never varies": (
        {"edits": {"step": ("paid = MatMul(next_h, first)",
                            "nil = Sub(next_h, next_h)\n    paid = MatMul(nil, first)")}},
        "declare a constant reward, or predict it",
    ),
    "encodes another value range than it decodes": (
        {"edits": {"encode": ("centred = Sub(flat, half)",
                              "small_ = Mul(flat, narrow)\n    centred = Sub(small_, half)")}},
        "those of their average are",
    ),
    "sees nothing": (
        {"edits": {"encode": ("centred = Sub(flat, half)",  "centred = Sub(flat, flat)")}},
        "encode: the posterior is the same whatever it sees",
    ),
}  # fmt: skip


def broken(folder: Path, change: dict[str, Any]) -> Path:
    return write_world(folder, **change)


def test_a_sound_bundle_has_no_finding_and_its_speed_is_measured(tmp_path: Path) -> None:
    report = check_bundle(broken(tmp_path / "world", {}))
    assert report.findings == []
    assert "independent rows" in report.passed
    assert "ms for 64 rows" in report.measured["a step"]
    assert "s for the default of 14,336 candidates of 10 steps" in report.measured["a plan"]


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_bundle_is_named_for_what_it_is(what: str, tmp_path: Path) -> None:
    change, expected = BROKEN[what]
    errors = [one.text for one in check_bundle(broken(tmp_path / "world", change)).errors()]
    assert any(expected in text for text in errors), errors


@pytest.mark.parametrize("what", DOUBTFUL)
def test_a_doubtful_bundle_is_warned_about(what: str, tmp_path: Path) -> None:
    change, expected = DOUBTFUL[what]
    report = check_bundle(broken(tmp_path / "world", change))
    assert not report.errors()
    assert any(expected in finding.text for finding in report.findings), report.findings


def test_all_findings_are_told_not_only_the_first(tmp_path: Path) -> None:
    folder = broken(tmp_path / "world", {})
    (folder / "encode.onnx").write_bytes(b"damaged")
    (folder / "decode.onnx").unlink()
    (folder / "bank.npz").write_bytes(b"not a zip")
    texts = [finding.text for finding in check_bundle(folder).findings]
    assert len(texts) == 3
    assert "encode.onnx: 7 bytes with sha256" in texts[0]
    assert "decode.onnx: cannot be read: No such file" in texts[1]
    assert "bank.npz: 9 bytes with sha256" in texts[2]


def test_every_wrong_field_of_a_manifest_is_told(tmp_path: Path) -> None:
    folder = broken(tmp_path / "world", {})
    manifest = folder / "manifest.json"
    text = manifest.read_text().replace('"latent_size": 2', '"latent_size": "two"')
    manifest.write_text(text.replace('"temperature_rule": "paper"', '"temperature_rule": "hot"'))
    texts = [finding.text for finding in check_bundle(folder).findings]
    assert len(texts) == 2
    assert "latent_size: Input should be a valid integer" in texts[0]
    assert "temperature_rule: Input should be 'paper' or 'weights_only'" in texts[1]


def test_what_is_wrong_with_several_graphs_is_told_at_once(tmp_path: Path) -> None:
    edits = BROKEN["inputs in another order"][0]["edits"] | BROKEN["a fixed batch axis"][0]["edits"]
    report = check_bundle(broken(tmp_path / "world", {"edits": edits}))
    texts = [finding.text for finding in report.errors()]
    assert ["step" in text for text in texts] == [True, False, False]
    assert ["decode" in text for text in texts] == [False, True, True]
    assert "distribution" in report.not_run
