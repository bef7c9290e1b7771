"""Poisoned numbers and arrays, each with its answer."""

import numpy as np

from .poison import MSGPACK, action, invalid, json, not_finite, packed, post, too_large

NAN, INF = float("nan"), float("inf")
BIG = 2**53  # more than an integer of the protocol may be
PLAN, SAMPLE = {"session_id": "s"}, {"session_id": "s", "futures": 1, "horizon": 1}
STEP = {"session_id": "s", "action": 0}
BOX = {"session_id": "b"}
NUMBERS = {
    "NaN in JSON": not_finite(
        post("/reset", b'{"temperature": NaN}'), "line 1 column 17: .*finite"
    ),
    "infinity in JSON": not_finite(post("/plan", b'{"discount": -Infinity}'), "must be finite"),
    "1e400 in JSON": not_finite(post("/reset", b'{"temperature": 1e400}'), "must be finite"),
    "NaN temperature": not_finite(packed("/reset", temperature=NAN), "temperature: .*finite"),
    "infinite discount": not_finite(packed("/plan", **PLAN, discount=INF), "discount: .*finite"),
    "NaN budget": not_finite(packed("/plan", **PLAN, budget_ms=NAN), "budget_ms: .*finite"),
    "NaN weight": not_finite(
        packed("/plan", **PLAN, objective={"reward": NAN}), "objective.reward: .*finite"
    ),
    "NaN option": not_finite(packed("/plan", **PLAN, options={"elites": NAN}), "options.elites"),
    "NaN target": not_finite(
        packed("/plan", **PLAN, objective={"target": [NAN] * 4}), r"objective.target.*\[0\]"
    ),
    "NaN action": not_finite(packed("/step", **BOX, action=[NAN, 0.0]), r"action.*\[0\]"),
    "infinite packed action": not_finite(
        packed("/step", **BOX, action=np.array([0, INF], np.float32)), r"action.*\[1\]"
    ),
    "signalling NaN": not_finite(
        post(
            "/step",
            b"\x82\xaasession_id\xa1b\xa6action\x92\xcb\x7f\xf0" + bytes(5) + b"\1\0",
            form=MSGPACK,
        ),
        r"action.*\[0\]",
    ),
    "NaN latent": not_finite(
        packed("/reset", start={"latent": [0.0, NAN, 0, 0]}), r"start.latent.*\[1\]"
    ),
    "1e300 latent": not_finite(json("/reset", start={"latent": [1e300, 0, 0, 0]}), "start.latent"),
    "NaN observation": not_finite(packed("/step", **STEP, observation=[NAN] * 4), "observation"),
    "NaN idle time": not_finite(packed("/delete/idle", idle_s=NAN), "idle_s: .*finite"),
    "negative temperature": invalid(
        json("/reset", temperature=-1), "temperature: .*greater than or equal to 0"
    ),
    "huge temperature": invalid(
        json("/reset", temperature=1e300), "temperature: .*less than or equal to 1000"
    ),
    "seed beyond 2**53": invalid(json("/reset", seed=BIG), "seed: .*9007199254740991"),
    "seed beyond 64 bits": invalid(
        post("/reset", b'{"seed": 1%s}' % (b"0" * 30)), "seed: .*9007199254740991"
    ),
    "seed beyond a float": not_finite(
        post("/reset", b'{"seed": 1%s}' % (b"0" * 400)), "line 1 column 10: .*finite"
    ),
    "negative seed": invalid(json("/reset", seed=-1), "seed: .*greater than or equal to 0"),
    "bool for a seed": invalid(json("/reset", seed=True), "seed: .*integer"),
    "text for a seed": invalid(json("/reset", seed="1"), "seed: .*integer"),
    "float for a count": invalid(json("/reset/batch", count=1.0), "count: .*integer"),
    "count 0": invalid(json("/reset/batch", count=0), "count: .*greater than or equal to 1"),
    "count -1": invalid(json("/sessions/s/fork", count=-1), "count: .*greater than or equal to 1"),
    "too many rows": too_large(json("/reset/batch", count=2**40), "1099511627776 .*the limit is 8"),
    "too many forks": too_large(json("/sessions/s/fork", count=2**50), "the limit is 4"),
    "too long a horizon": too_large(json("/plan", **PLAN, horizon=2**50), "the limit is 1000"),
    "too many futures": too_large(
        json("/sample", **{**SAMPLE, "futures": 2**50}), "the limit is 1000"
    ),
    "too long episodes": too_large(
        json("/rollout", policy="random", episodes=2, max_steps=2**50), "the limit is 1000"
    ),
    "too long a window": too_large(
        json("/reset", rewind_window=2**50), "rewind_window: .*the limit is"
    ),
    "negative step": invalid(json("/step", **STEP, step=-1), "step: .*greater than or equal to 1"),
}

RAGGED = [[0.0], [0.0, 1.0]]
ARRAYS = {
    "bool action": action(json("/step", session_id="s", action=True), "action"),
    "action outside": action(
        json("/step", session_id="s", action=3),
        r"action 3 is not in Discrete\(3\): 0 back, 1 stay, 2 forth",
    ),
    "float action": action(json("/step", session_id="s", action=1.0), "action.*integer"),
    "action of Box": action(json("/step", session_id="s", action=[0.5, 0.5]), "action"),
    "action beyond bounds": action(
        json("/step", **BOX, action=[0.0, 7.0]),
        r"second = 7 is not in Box: first in \[-1, 1\], second in \[-0.5, 0.5\]",
    ),
    "latent too short": invalid(
        json("/reset", start={"latent": [0.0]}), r"start.latent .*\[4\], not .*\[1\]"
    ),
    "ragged": invalid(json("/reset", start={"latent": RAGGED}), "start.latent: .*rows"),
    "bools among numbers": invalid(
        json("/reset", start={"latent": [0.0, True, 0, 0]}), "start.latent: .*number"
    ),
    "null among numbers": invalid(
        json("/reset", start={"latent": [0.0, None, 0, 0]}), "start.latent: .*number"
    ),
    "frame beyond uint8": invalid(
        json("/reset", start={"frames": [[[[256] * 3] * 8] * 8]}), "start.frames.*from 0 to 255"
    ),
    "frame of another shape": invalid(
        json("/step", **STEP, observation=[[[0]]]),
        r"observation: a frame must be \[16, 24, 3\].*8, 8, 3",
    ),
    "unknown dtype": action(
        packed("/step", **BOX, action={"dtype": "|O8", "shape": [1], "data": bytes(8)}),
        "dtype must be one of",
    ),
    "more shape than data": action(
        packed("/step", **BOX, action={"dtype": "<f4", "shape": [2**40], "data": b""}),
        "bytes|shape",
    ),
    "negative shape": action(
        packed("/step", **BOX, action={"dtype": "<f4", "shape": [-1], "data": b""}), "shape"
    ),
    "no PNG file": invalid(
        json("/step", **STEP, observation={"png": "R0lGODlh"}), "observation: .*not a PNG"
    ),
    "no base64": invalid(
        json("/step", **STEP, observation={"png": "@@"}), "observation: png must be base64"
    ),
}
