"""Broken bundles of the other heads, of vectors, policies and signals: each is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.conformance.suite import check_bundle

from .vector_worlds import (
    CATEGORICAL,
    DETERMINISTIC,
    categorical_bank,
    categorical_fields,
    vectors,
)
from .worlds import Sound, write_world

Faults = dict[str, tuple[dict[str, Any], str]]
SIGNALS = categorical_fields()["signals"]
BANK = categorical_bank()
MANIFEST_SAYS = "has_decode and has_policy say"

CATEGORICAL_FAULTS: Faults = {
    "normals where uniforms are meant": (
        {"noise": {"normal": 2, "uniform": 0}},
        "the manifest declares 2 normals, then 0 uniforms, and 2 groups take a uniform each",
    ),
    "probabilities in place of one-hot vectors": (
        {"edits": {"step": ("next_latent = Reshape(hot_one, flat)",
                            "next_latent = Reshape(weights, flat)")}},
        "next_latent is not one-hot; it must hold 2 groups of 3 numbers, a single 1 in each",
    ),
    "the groups in the other order of axes": (
        {"edits": {"step": ("next_latent = Reshape(hot_one, flat)",
                            "turned = Transpose<perm=[0,2,1]>(hot_one)\n"
                            "    next_latent = Reshape(turned, flat)")}},
        "the numbers of its 2 groups lie 2 apart; a group's 3 numbers must follow one another",
    ),
    "one group for all": (
        {"edits": {"step": ("next_latent = Reshape(hot_one, flat)",
                            "once = ReduceMax<keepdims=1>(hot_one, axis)\n"
                            "    nothing = Sub(hot_one, hot_one)\n    same = Add(nothing, once)\n"
                            "    next_latent = Reshape(same, flat)")}},
        "next_latent is not one-hot",
    ),
    "probabilities in place of logits": (
        {"edits": {"step": ("logits = Identity(raw)", "logits = Softmax<axis=2>(raw)")}},
        "logits are probabilities, which sum to 1; return logits, or the logarithms",
    ),
    "probabilities in the bank": (
        {"arrays": {"logits": np.full((20, 2, 3), 1 / 3, np.float32)}},
        "bank: logits are probabilities, which sum to 1",
    ),
    "a uniform for all groups": (
        {"edits": {"step": ("uniform = Unsqueeze(noise, axis_2)",
                            "one_of, none = Split<axis=1,num_outputs=2>(noise)\n"
                            "    uniform = Unsqueeze(one_of, axis_2)")}},
        "noise: uniform number 1 changes nothing",
    ),
    "temperature ignored": (
        {"edits": {"step": ("heat = Unsqueeze(above, axis_2)",
                            "nil = Sub(above, above)\n    even = Add(nil, one)\n"
                            "    heat = Unsqueeze(even, axis_2)")}},
        "next_latent at temperature 0 is 1 off the most likely alternative of logits",
    ),
    "NaN at temperature 0": (
        {"edits": {"step": ("hot_one = Mul(left, right)",
                            "unit = Div(temperature, temperature)\n"
                            "    wide = Unsqueeze(unit, axis)\n    cell = Unsqueeze(wide, axis_2)\n"
                            "    product = Mul(left, right)\n    hot_one = Mul(product, cell)")}},
        "next_latent holds NaN or infinity at temperature 0",
    ),
    "another draw than the logits'": (
        {"edits": {"step": ("scaled = Div(raw, heat)",
                            "cold = Div(raw, heat)\n    scaled = Mul(cold, four)")}},
        "next_latent at temperature 1 does not have the mean that logits describe",
    ),
    "latents of another size than the groups'": (
        {"head": {"kind": "categorical", "groups": 3, "classes": 3}},
        "latent_size 6 must be groups x classes, 3 x 3 = 9",
    ),
    "logits of another shape": (
        {"head": {"kind": "categorical", "groups": 3, "classes": 2}},
        "bank.npz: logits must be (20, 3, 2), is (20, 2, 3)",
    ),
    "one number for an action of two parts": (
        {"edits": {"step": ("int64[b,2] action", "int64[b] action")}},
        "graph step, inputs: action must be ['batch', 2], is ['b']",
    ),
    "an action that is not int64": (
        {"edits": {"step": ("int64[b,2] action", "int32[b,2] action")}},
        "action must be a tensor(int64), is a tensor(int32)",
    ),
    "double precision": (
        {"edits": {"policy": ("float[b,5] scores)", "double[b,5] scores)")}},
        "scores",
    ),
    "a memory that encode does not declare": (
        {"encode_memory": False},
        "graph encode must map ('vectors',) to ('logits',), the manifest says ('vectors', 'h')",
    ),
    "no decode where the manifest promises one": (
        {"graphs": ("decode",)},
        f"the graphs must be ['encode', 'step', 'decode', 'policy'], as {MANIFEST_SAYS}",
    ),
    "a policy that the manifest does not know": (
        {"has_policy": False},
        f"the graphs must be ['encode', 'step', 'decode'], as {MANIFEST_SAYS}",
    ),
    "scores for another number of choices": (
        {"action_space": {"type": "MultiDiscrete", "nvec": [3, 3], "names": ["move", "fire"]}},
        "scores must be ['batch', 6]",
    ),
    "a policy and a controller": (
        {"controller": True},
        "give a policy graph or a controller, not both",
    ),
    "a policy whose rows depend on each other": (
        {"edits": {"policy": ("seen = MatMul(latent, see)",
                              "mean = ReduceMean(latent, axis_0)\n    own = Sub(latent, mean)\n"
                              "    seen = MatMul(own, see)")}},
        "policy: scores depends on the other rows of its batch",
    ),
    "a policy that overflows": (
        {"edits": {"policy": ("scores = Add(seen, known)",
                              "sum = Add(seen, known)\n    large = Mul(sum, huge)\n"
                              "    larger = Mul(large, huge)\n    scores = Exp(larger)")}},
        "policy: scores holds NaN or infinity",
    ),
    "encode that overflows": (
        {"edits": {"encode": ("flat = Add(seen, known)",
                              "sum = Add(seen, known)\n    large = Mul(sum, huge)\n"
                              "    flat = Mul(large, huge)")}},
        "encode: logits holds NaN or infinity",
    ),
    "encode whose rows depend on each other": (
        {"edits": {"encode": ("seen = MatMul(vectors, see)",
                              "mean = ReduceMean(vectors, axis_0)\n    own = Sub(vectors, mean)\n"
                              "    seen = MatMul(own, see)")}},
        "encode: logits depends on the other rows of its batch",
    ),
    "vectors that overflow": (
        {"edits": {"decode": ("vectors = MatMul(latent, show)",
                              "shown = MatMul(latent, show)\n    large = Mul(shown, huge)\n"
                              "    vectors = Mul(large, huge)")}},
        "decode: vectors holds NaN or infinity",
    ),
    "vectors of another length": (
        {"observation": vectors("x", "y")},
        "vectors must be ['batch', 2]",
    ),
    "a signal with an axis too many": (
        {"edits": {"step": ("value = Squeeze(worthy, axis)", "value = Identity(worthy)")}},
        "value must be",
    ),
    "a signal that the manifest does not know": (
        {"signals": SIGNALS[:1]},
        "the manifest says",
    ),
    "signals in another order": (
        {"edits": {"step": ("float[b] value, float[b] uncertainty",
                            "float[b] uncertainty, float[b] value")}},
        "graph step, outputs: must be ",
    ),
    "a signal that overflows": (
        {"edits": {"step": ("value = Squeeze(worthy, axis)",
                            "worthiest = Mul(worthy, huge)\n    best = Exp(worthiest)\n"
                            "    value = Squeeze(best, axis)")}},
        "step: value holds NaN or infinity",
    ),
    "a signal of a name with another meaning": (
        {"signals": [SIGNALS[0], {"name": "survival", "description": ""}]},
        "a signal may not be named 'survival', which has another meaning",
    ),
    "a threshold of ends that are drawn": (
        {"done": {"rule": "drawn", "threshold": 0.5}},
        "an end that is drawn has no threshold",
    ),
    "ends at once": (
        {"edits": {"step": ("done_logit = Sub(ending, four)",
                            "up = Mul(four, four)\n    done_logit = Add(ending, up)")}},
        "an end is drawn with the probability sigmoid(done_logit)",
    ),
    "a memory that depends on the noise": (
        {"edits": {"step": ("moved = Add(kept, both)",
                            "sum = ReduceSum(noise, axis)\n    known = Add(kept, both)\n"
                            "    moved = Add(known, sum)")}},
        "next_h depends on the noise",
    ),
    "a bank without the memory": (
        {"arrays": {"state.h": None}},
        "must hold ['logits', 'state.h'], holds ['logits']",
    ),
    "a bank of flat logits": (
        {"arrays": {"logits": BANK["logits"].reshape(20, 6)}},
        "logits must be (20, 2, 3), is (20, 6)",
    ),
    "a bank of fewer memories": (
        {"arrays": {"state.h": BANK["state.h"][:5]}},
        "state.h must be (20, 4), is (5, 4)",
    ),
    "ages that are not declared": (
        {"arrays": {"age": np.arange(20)}},
        "must hold ['logits', 'state.h'], holds ['age', 'logits', 'state.h']",
    ),
    "ages that are missing": ({"ages": True}, "must hold ['age', 'logits', 'state.h']"),
    "ages that are floats": (
        {"ages": True, "arrays": {"age": np.arange(20.0)}},
        "age is float64, must be integers",
    ),
    "ages below 0": (
        {"ages": True, "arrays": {"age": np.arange(20) - 1}},
        "age holds -1; steps since a beginning are 0 or more",
    ),
}  # fmt: skip
DETERMINISTIC_FAULTS: Faults = {
    "an action that is infinite at its bound": (
        {"edits": {"step": ("reward = Squeeze(paid, axis)",
                            "plain = Squeeze(paid, axis)\n    force = Squeeze(action, axis)\n"
                            "    ratio = Div(force, three)\n    steep = Atanh(ratio)\n"
                            "    reward = Add(plain, steep)")}},
        "reward holds NaN or infinity after action [3.]; every action of Box",
    ),
    "a latent that is not the mean": (
        {"edits": {"step": ("next_latent = Identity(mean)", "next_latent = Mul(mean, keep)")}},
        "off the most likely alternative of mean; it must be its mean",
    ),
    "noise that nothing uses": (
        {"edits": {"step": ("float[b,0] noise", "float[b,2] noise")},
         "noise": {"normal": 2, "uniform": 0}},
        "noise: normal number 0, normal number 1 changes nothing",
    ),
    "noise of another size": (
        {"noise": {"normal": 1, "uniform": 0}},
        "noise must be ['batch', 1]",
    ),
    "a decode that it does not have": (
        {"has_decode": True},
        f"the graphs must be ['encode', 'step', 'decode'], as {MANIFEST_SAYS}",
    ),
    "an action of the wrong dtype": (
        {"edits": {"step": ("float[b,1] action", "double[b,1] action")}},
        "double",
    ),
    "bounds that are no bounds": (
        {"action_space": {"type": "Box", "low": [3.0], "high": [-2.0], "names": ["force"]}},
        "low",
    ),
    "a tensor that lost an axis": (
        {"recurrent_state": [{"name": "past", "shape": [2]}],
         "arrays": {"state.past": np.ones((20, 2), np.float32)}},
        "graph step, inputs: past must be ['batch', 2], is ['b', 2, 1]",
    ),
    "a mean that depends on the temperature": (
        {"edits": {"step": ("mean = Tanh(both)",
                            "hot = Unsqueeze(temperature, axis)\n    hotter = Mul(both, hot)\n"
                            "    mean = Tanh(hotter)")}},
        "mean depends on the temperature",
    ),
    "an encoder of training": (
        {"edits": {"encode": ("mean = Mul(vectors, half)",
                              "centre = ReduceMean(vectors, axis_0)\n"
                              "    mean = Sub(vectors, centre)")}},
        "encode: mean depends on the other rows of its batch",
    ),
}  # fmt: skip
CATEGORICAL_DOUBTS: Faults = {
    "encode that ignores the memory": (
        {"edits": {"encode": ("known = MatMul(h, past)",
                              "nothing = Sub(h, h)\n    known = MatMul(nothing, past)")}},
        "encode: ignores h; without any memory, encode_memory is false",
    ),
    "a memory that nothing reads": (
        {"edits": {"step": ("kept = Mul(h, keep)",
                            "none = Sub(h, h)\n    kept = Mul(none, keep)")}},
        "step: h changes no output",
    ),
    "a policy of one action": (
        {"edits": {"policy": ("scores = Add(seen, known)",
                              "sum = Add(seen, known)\n    scores = Sub(sum, sum)")}},
        "policy: takes the action [0 0] at all moments",
    ),
    "a signal that never varies": (
        {"edits": {"step": ("uncertainty = Squeeze(doubtful, axis)",
                            "none = Sub(doubtful, doubtful)\n"
                            "    uncertainty = Squeeze(none, axis)")}},
        "step: uncertainty is 0 at every step",
    ),
    "draws by the other end of the uniforms": (
        {"edits": {"step": ("uniform = Unsqueeze(noise, axis_2)",
                            "turned = Sub(one, noise)\n    uniform = Unsqueeze(turned, axis_2)")}},
        "but is not drawn as documented from 0 normals, then 2 uniforms by inverse CDF",
    ),
}  # fmt: skip
DETERMINISTIC_DOUBTS: Faults = {
    "a memory that stays as it is": (
        {"edits": {"step": ("next_past = Tanh(mixed)", "next_past = Identity(past)")}},
        "step: next_past is past, unchanged",
    ),
    "a memory that forgets": (
        {"edits": {"step": ("next_past = Tanh(mixed)",
                            "none = Sub(mixed, mixed)\n    next_past = Tanh(none)")}},
        "step: next_past is the same in every dream",
    ),
    "a force that changes nothing": (
        {"edits": {"step": ("pushed = MatMul(action, push)",
                            "none = Sub(action, action)\n    pushed = MatMul(none, push)")}},
        "the action changes no output",
    ),
    "an encoder that sees nothing": (
        {"edits": {"encode": ("mean = Mul(vectors, half)",
                              "none = Sub(vectors, vectors)\n    mean = Mul(none, half)")}},
        "encode: the posterior is the same whatever it sees",
    ),
}  # fmt: skip


def rows(*tables: tuple[Sound, Faults]) -> list[Any]:
    return [
        pytest.param(world, *fault, id=name)
        for world, faults in tables
        for name, fault in faults.items()
    ]


@pytest.mark.parametrize("world", [CATEGORICAL, DETERMINISTIC])
def test_a_sound_bundle_of_vectors_has_no_finding(world: Sound, tmp_path: Path) -> None:
    assert check_bundle(write_world(tmp_path / "world", world=world)).findings == []


@pytest.mark.parametrize(
    ("world", "change", "expected"),
    rows((CATEGORICAL, CATEGORICAL_FAULTS), (DETERMINISTIC, DETERMINISTIC_FAULTS)),
)
def test_a_broken_bundle_is_named_for_what_it_is(
    world: Sound, change: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    errors = check_bundle(write_world(tmp_path / "world", world=world, **change)).errors()
    assert any(expected in one.text for one in errors), errors


@pytest.mark.parametrize(
    ("world", "change", "expected"),
    rows((CATEGORICAL, CATEGORICAL_DOUBTS), (DETERMINISTIC, DETERMINISTIC_DOUBTS)),
)
def test_a_doubtful_bundle_is_warned_about(
    world: Sound, change: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    report = check_bundle(write_world(tmp_path / "world", world=world, **change))
    assert not report.errors()
    assert any(expected in finding.text for finding in report.findings), report.findings
