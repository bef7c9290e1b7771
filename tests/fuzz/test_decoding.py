"""Whatever bytes arrive as a body or a frame: a valid request, or a documented error."""

from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest

from dreamserve.api.codec import decode
from dreamserve.api.examples import examples
from dreamserve.validation import validator
from dreamserve_protocol import png
from dreamserve_protocol.errors import CallerError, InvalidRequestError
from dreamserve_protocol.pictures import PngBounds
from dreamserve_protocol.verbs import VERBS, Verb

from .mutations import as_json, as_msgpack, mutated_png
from .neighbours import assert_declared

BOUNDS = PngBounds(files=8, pixels=4096, total_bytes=2**20)
FRAME = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
RICHER: dict[str, dict[str, Any]] = {  # fields that the examples of the documentation lack
    "reset": {
        "temperature": 0.5,
        "start": {"frames": [FRAME.tolist()] * 2, "actions": [1]},
        "max_steps": 9,
        "include": ["frame", "state"],
        "frame_format": "png",
    },
    "step": {"observation": {"png": png.encode(FRAME)}, "include": ["mixture"]},
    "step_batch": {"observations": [[0.5] * 4] * 2, "on_end": "restart"},
    "reset_batch": {"latents": [[0.5] * 4] * 2, "temperatures": [0.5, 1.0]},
    "rollout": {
        "policy": {"kind": "linear", "weights": [[[0.5] * 4] * 3], "inputs": ["latent"]},
        "episodes": None,
        "seeds": [1, 2],
        "seed": None,
    },
    "plan": {
        "objective": {"reward": 1.0, "target": [0.5] * 4},
        "options": {"elites": 4.0},
        "budget_ms": 5.0,
    },
}


@cache
def corpus() -> list[tuple[Verb, dict[str, Any]]]:
    """Return every verb with the fields of its example, and those of a richer one."""
    found = []
    for verb in (verb for verb in VERBS if verb.has_body):
        path = dict.fromkeys(verb.path_fields, "a")
        body = examples()[verb.name].body or {}
        fields = {**path, **({verb.body: body} if verb.body else body)}
        found += [(verb, fields), (verb, {**fields, **RICHER.get(verb.name, {})})]
    return found


def body(random: Random) -> tuple[Verb, bytes, bool]:
    verb, fields = random.choice(corpus())
    if random.random() < 0.5:
        return verb, as_msgpack(random, fields), True
    return verb, as_json(random, fields), False


def read(case: tuple[Verb, bytes, bool]) -> None:
    verb, raw, is_msgpack = case
    try:
        request = validator(verb.request)(decode(raw, is_msgpack), BOUNDS)
    except CallerError as error:
        assert_declared(error, verb.all_errors)
        return
    assert isinstance(request, verb.request)


def test_a_body_becomes_a_valid_request_or_an_error_that_its_verb_declares(fuzzer) -> None:
    fuzzer.run(body, read, cases=4000)


def test_a_png_file_becomes_a_frame_or_an_invalid_request(fuzzer) -> None:
    generator = np.random.default_rng(0)
    files = [
        png.encode(generator.integers(0, 255, (h, w, c), np.uint8))
        for h, w, c in [(1, 1, 1), (3, 5, 2), (8, 8, 3), (64, 64, 3), (7, 1, 4)]
    ]

    def decoded(file: bytes) -> None:
        try:
            frame = png.decode(file)
        except InvalidRequestError as error:
            assert_declared(error, [InvalidRequestError])
        else:
            assert frame.dtype == np.uint8
            assert frame.shape == png.header_of(file).shape

    fuzzer.run(lambda random: mutated_png(random, random.choice(files)), decoded, cases=4000)


def test_the_corpus_is_valid() -> None:
    for verb, fields in corpus():
        validator(verb.request)(fields, BOUNDS)


@pytest.mark.parametrize("write", [as_json, as_msgpack])
def test_mutations_reach_both_sides(write) -> None:
    taken = 0
    for number in range(200):
        verb, fields = Random(number).choice(corpus())
        try:
            validator(verb.request)(
                decode(write(Random(number), fields), write is as_msgpack), BOUNDS
            )
            taken += 1
        except CallerError:
            continue
    assert 10 < taken < 190
