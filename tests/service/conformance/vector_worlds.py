"""Worlds of vectors that keep the contract, as text of ONNX: categorical and deterministic."""

from typing import Any

import numpy as np

from .worlds import Sound

# Two groups of three classes, whose posterior depends on the memory; signals and a policy.
CATEGORICAL_ENCODE = """
encode (float[b,3] vectors, float[b,4] h) => (float[b,2,3] logits)
<float[3,6] see = {9,-9,0, 2,0,-2, -9,0,9, 0,3,-3, 0,9,-9, -2,2,0}, float[4,6] past = {1,0,0, 0,0,1,
 0,1,0, 0,1,0, 0,0,1, 1,0,0, 1,1,0, 0,0,1}, int64[3] shape = {-1,2,3}>
{
    seen = MatMul(vectors, see)
    known = MatMul(h, past)
    flat = Add(seen, known)
    logits = Reshape(flat, shape)
}
"""
CATEGORICAL_STEP = """
step (float[b,6] latent, int64[b,2] action, float[b,4] h, float[b] temperature, float[b,2] noise)
  => (float[b,6] next_latent, float[b] reward, float[b] done_logit, float[b,4] next_h,
      float[b,2,3] logits, float[b] value, float[b] uncertainty)
<float[6,4] see = {1,0,-1,0, 0,1,0,-1, -1,0,1,0, 0,-1,0,1, 0.5,0.5,0,0, 0,0,0.5,-0.5},
 float[2,4] push = {0.3,-0.2,0.1,0, 0,0.4,-0.3,0.2}, float keep = {0.7},
 float[4,6] guess = {2,0,-2, 1,0,-1, 0,2,0, -1,1,0, -1,0,2, 0,-1,1, 1,-1,0, 2,0,-1},
 float[4,1] pay = {1,0,0.5,0}, float[4,1] worth = {0,2,0,1}, float[4,1] doubt = {0.5,0.5,1,1},
 float[4,1] end = {2,0,0,3}, float one = {1}, float four = {4}, float least = {0.000001},
 int64[1] axis = {1}, int64[1] axis_2 = {2}, int64[3] shape = {-1,2,3}, int64[2] flat = {-1,6},
 float[3,2] lower = {1,1, 0,1, 0,0}, float[2,3] first = {1,0,0, 0,1,0},
 float[2,3] last = {0,1,0, 0,0,1}, float[3] third = {0,0,1}, float[3] ones = {1,0,0}>
{
    number = Cast<to=1>(action)
    pushed = MatMul(number, push)
    heard = MatMul(latent, see)
    kept = Mul(h, keep)
    both = Add(heard, pushed)
    moved = Add(kept, both)
    next_h = Tanh(moved)
    paid = MatMul(next_h, pay)
    reward = Squeeze(paid, axis)
    worthy = MatMul(next_h, worth)
    value = Squeeze(worthy, axis)
    doubtful = MatMul(next_h, doubt)
    uncertainty = Squeeze(doubtful, axis)
    ended = MatMul(next_h, end)
    ending = Squeeze(ended, axis)
    done_logit = Sub(ending, four)
    guessed = MatMul(next_h, guess)
    raw = Reshape(guessed, shape)
    logits = Identity(raw)
    hot = Unsqueeze(temperature, axis)
    above = Max(hot, least)
    heat = Unsqueeze(above, axis_2)
    scaled = Div(raw, heat)
    weights = Softmax<axis=2>(scaled)
    bounds = MatMul(weights, lower)
    uniform = Unsqueeze(noise, axis_2)
    passed = Greater(uniform, bounds)
    beyond = Cast<to=1>(passed)
    before = Sub(one, beyond)
    from_left = MatMul(beyond, last)
    to_right = MatMul(before, first)
    left = Add(from_left, ones)
    right = Add(to_right, third)
    hot_one = Mul(left, right)
    next_latent = Reshape(hot_one, flat)
}
"""
CATEGORICAL_DECODE = """
decode (float[b,6] latent) => (float[b,3] vectors)
<float[6,3] show = {1,-1,0, 0,0,1, -1,1,0, 0.5,0,0, 0,0.5,0, 0,0,0.5}>
{
    vectors = MatMul(latent, show)
}
"""
CATEGORICAL_POLICY = """
policy (float[b,6] latent, float[b,4] h) => (float[b,5] scores)
<float[6,5] see = {1,0,0,0,1, 0,1,0,1,0, 0,0,1,1,0, 0,0,1,0,1, 1,0,0,1,0, 0,1,0,0,1},
 float[4,5] past = {1,0,-1,0.5,0, 0,1,0,-1,0.5, 0,0,1,0,-1, -1,0,0,1,0}>
{
    seen = MatMul(latent, see)
    known = MatMul(h, past)
    scores = Add(seen, known)
}
"""
# One step of a linear system; nothing is decoded, and a tensor of two axes remembers.
DETERMINISTIC_ENCODE = """
encode (float[b,2] vectors) => (float[b,2] mean)
<float half = {0.5}>
{
    mean = Mul(vectors, half)
}
"""
DETERMINISTIC_STEP = """
step (float[b,2] latent, float[b,1] action, float[b,2,1] past, float[b] temperature,
      float[b,0] noise)
  => (float[b,2] next_latent, float[b] reward, float[b] done_logit, float[b,2,1] next_past,
      float[b,2] mean)
<float[2,2] turn = {0.9,0.2, -0.2,0.9}, float[1,2] push = {0.1,0.3}, float keep = {0.5},
 int64[1] axis = {1}, int64[1] axis_2 = {2}, float[2,1] pay = {1,-1}, float[2,1] end = {1,1},
 float three = {3}>
{
    turned = MatMul(latent, turn)
    pushed = MatMul(action, push)
    moved = Add(turned, pushed)
    known = Squeeze(past, axis_2)
    kept = Mul(known, keep)
    both = Add(moved, kept)
    mean = Tanh(both)
    next_latent = Identity(mean)
    old = Mul(past, keep)
    new = Unsqueeze(moved, axis_2)
    mixed = Add(old, new)
    next_past = Tanh(mixed)
    paid = MatMul(mean, pay)
    reward = Squeeze(paid, axis)
    ended = MatMul(mean, end)
    ending = Squeeze(ended, axis)
    done_logit = Sub(ending, three)
}
"""


def categorical_bank() -> dict[str, np.ndarray]:
    """Return moments (N = 20) as the categorical world's own dreams have them."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20, 2, 3)).astype(np.float32)
    h = np.tanh(rng.standard_normal((20, 4))).astype(np.float32)
    return {"logits": 3 * logits, "state.h": h}


def deterministic_bank() -> dict[str, np.ndarray]:
    """Return moments (N = 20) as the deterministic world's own dreams have them."""
    rng = np.random.default_rng(0)
    mean = np.tanh(rng.standard_normal((20, 2))).astype(np.float32)
    past = np.tanh(rng.standard_normal((20, 2, 1))).astype(np.float32)
    return {"mean": mean, "state.past": past}


def vectors(*names: str) -> dict[str, Any]:
    """Return an observation of numbers with these names."""
    free = [None] * len(names)
    return {"kind": "vector", "names": list(names), "low": free, "high": free}


def categorical_fields() -> dict[str, Any]:
    """Return the categorical world's fields, without files."""
    return {
        "name": "classes",
        "action_space": {"type": "MultiDiscrete", "nvec": [3, 2], "names": ["move", "fire"]},
        "observation": vectors("x", "y", "speed"),
        "latent_size": 6,
        "recurrent_state": [{"name": "h", "shape": [4]}],
        "head": {"kind": "categorical", "groups": 2, "classes": 3},
        "encode_memory": True,
        "has_policy": True,
        "noise": {"normal": 0, "uniform": 2},
        "temperature_rule": "paper",
        "done": {"rule": "drawn", "threshold": 0.0},
        "reward": {"kind": "head", "value": None},
        "signals": [
            {"name": "value", "description": "of what follows"},
            {"name": "uncertainty", "description": "of this step"},
        ],
        "origin": {},
        "quality": {},
    }


def deterministic_fields() -> dict[str, Any]:
    """Return the deterministic world's fields, without files."""
    return {
        "name": "linear",
        "action_space": {"type": "Box", "low": [-2.0], "high": [3.0], "names": ["force"]},
        "observation": vectors("place", "speed"),
        "latent_size": 2,
        "recurrent_state": [{"name": "past", "shape": [2, 1]}],
        "head": {"kind": "deterministic"},
        "has_decode": False,
        "noise": {"normal": 0, "uniform": 0},
        "temperature_rule": "paper",
        "done": {"rule": "drawn", "threshold": 0.0},
        "reward": {"kind": "head", "value": None},
        "origin": {},
        "quality": {},
    }


CATEGORICAL = Sound(
    {
        "encode": CATEGORICAL_ENCODE,
        "step": CATEGORICAL_STEP,
        "decode": CATEGORICAL_DECODE,
        "policy": CATEGORICAL_POLICY,
    },
    categorical_bank,
    categorical_fields,
    {"int64[1] axis_0": "{0}", "float half": "{0.5}", "float huge": "{1e30}"},
)
DETERMINISTIC = Sound(
    {"encode": DETERMINISTIC_ENCODE, "step": DETERMINISTIC_STEP},
    deterministic_bank,
    deterministic_fields,
    {"int64[1] axis_0": "{0}", "float half": "{0.5}"},
)
