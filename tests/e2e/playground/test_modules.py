"""The playground's modules by themselves: they read and write what the server does."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from dreamserve.backends.fake import SPACES
from dreamserve_protocol.arrays import pack, unpack

VALUES = [
    *(None, True, False, 0, 1, 127, 128, 255, 256, 65535, 65536, 2**32, 2**53 - 1),
    *(-1, -32, -33, -128, -129, -32769, -(2**31) - 1, -(2**53) + 1, 0.5, -1.25e300, 1e-7),
    *("", "dream", "träumt 夢", "x" * 31, "x" * 32, "x" * 300, "x" * 70_000),
    *([], [1, [2, "three"]], list(range(20)), [0] * 70_000),
    *({}, {"a": {"b": [None]}}, {str(i): i for i in range(20)}),
]
DECODE = """async (bytes) => {
  const { decode } = await import("/play/wire/msgpack.js");
  return decode(new Uint8Array(bytes));
}"""
ENCODE = """async (value) => {
  const { encode } = await import("/play/wire/msgpack.js");
  return Array.from(encode(value));
}"""
ARRAY = """async (bytes) => {
  const { decode } = await import("/play/wire/msgpack.js");
  const { reviveArray, item } = await import("/play/wire/arrays.js");
  const array = decode(new Uint8Array(bytes), reviveArray);
  const row = item(array, 1);
  return [array.shape, Array.from(array.data, Number), row.shape, Array.from(row.data, Number)];
}"""
SURPRISE = """async ([latent, mixture]) => {
  const { surpriseOf } = await import("/play/dream/surprise.js");
  const array = (nested) => Array.isArray(nested[0])
    ? { shape: [nested.length, nested[0].length], data: Float32Array.from(nested.flat()) }
    : { shape: [nested.length], data: Float32Array.from(nested) };
  const arrays = Object.entries(mixture).map(([name, nested]) => [name, array(nested)]);
  return surpriseOf(array(latent), Object.fromEntries(arrays));
}"""
LINK = """async ([spec, actions]) => {
  const { readLink, writeLink } = await import("/play/dream/link.js");
  const { fragment } = writeLink(spec, actions);
  return [fragment, readLink(fragment)];
}"""
HAS_CONTROLLER = """async (manifest) => {
  const { hasController } = await import("/play/dream/drivers.js");
  return hasController(manifest);
}"""
ACTIONS = """async ([space, keys]) => {
  const { actionsOf } = await import("/play/dream/actions.js");
  const actions = actionsOf(space);
  const pressed = keys.map((key) => actions.choices.find((choice) => choice.keys.includes(key)));
  return [actions.whenPressed(pressed), actions.choices.map(({ name }) => name)];
}"""


@pytest.fixture(scope="module")
def evaluate(browser: Any, url: str) -> Iterator[Any]:
    page = browser.new_page()
    page.goto(f"{url}/play")
    yield page.evaluate
    page.close()


def test_msgpack_is_read_as_python_writes_it(evaluate: Any) -> None:
    for value in VALUES:
        assert evaluate(DECODE, list(msgpack.packb(value))) == value


def test_msgpack_is_written_as_python_reads_it(evaluate: Any) -> None:
    for value in VALUES:
        assert msgpack.unpackb(bytes(evaluate(ENCODE, value))) == value


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i8", "<i4", "|u1", "|b1"])
def test_arrays_are_read_as_the_protocol_packs_them(evaluate: Any, dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], np.dtype(dtype))
    shape, data, row_shape, row = evaluate(ARRAY, list(msgpack.packb(pack(array))))
    np.testing.assert_array_equal(np.reshape(data, shape), unpack(pack(array)))
    assert (row_shape, row) == ([3], [1, 0, 1])


@pytest.mark.parametrize(("world", "action"), [("takecover", 1), ("box", [0.5, 0.2])])
def test_surprise_is_the_server_s(evaluate: Any, url: str, world: str, action: Any) -> None:
    with httpx.Client(base_url=url) as http:
        begun = http.post("/reset", json={"world": world, "seed": 3}).json()
        fields = {
            "session_id": begun["session_id"],
            "action": action,
            "observation": [0.1] * len(begun["latent"]),
            "include": ["mixture"],
        }
        stepped = http.post("/step", json=fields).json()
    found = evaluate(SURPRISE, [stepped["latent"], stepped["mixture"]])
    assert found == pytest.approx(stepped["info"]["surprise"], rel=1e-4, abs=1e-4)


def test_a_world_has_a_controller_that_is_linear_or_a_graph(evaluate: Any) -> None:
    linear = {"controller": {"kind": "linear"}, "has_policy": False}
    graph, none = {"controller": None, "has_policy": True}, {"controller": None}
    assert [evaluate(HAS_CONTROLLER, each) for each in (linear, graph, none)] == [True, True, False]


@pytest.mark.parametrize(
    ("actions", "written"),
    [
        ([], ""),
        ([1, 1, 1, 0, 2, 2], "&actions=1~3_0_2~2"),
        ([[0.5, -1], [0.5, -1], [0, 0.25]], "&actions=0.5,-1~2_0,0.25"),
    ],
)
def test_a_link_holds_the_dream(evaluate: Any, actions: Any, written: str) -> None:
    spec = {"world": "take cover", "seed": 7, "temperature": 0.5, "start": {"bank": 3}}
    fragment, read = evaluate(LINK, [spec, actions])
    assert fragment == f"#world=take+cover&seed=7&temperature=0.5&start=3{written}"
    assert read == {"spec": spec, "actions": actions}


@pytest.mark.parametrize(
    ("space", "keys", "action"),
    [
        ("Discrete", [], 1),
        ("Discrete", ["3"], 2),
        ("Box with odd bounds", [], [0, 0, 10]),
        ("Box with odd bounds", ["ArrowLeft"], [-2, 0, 10]),
        ("Box with odd bounds", ["ArrowUp", "ArrowRight"], [2, 1, 10]),
        ("MultiDiscrete", [], [1, 0, 1, 0]),
        ("MultiDiscrete", ["ArrowDown", "q"], [0, 1, 1, 0]),
        ("MultiDiscrete", ["2", "z", "1", "a"], [2, 0, 0, 1]),
        ("MultiBinary", [], [0, 0, 0]),
        ("MultiBinary", ["2", "f"], [1, 1, 0]),
    ],
)
def test_keys_mean_an_action_of_the_space(
    evaluate: Any, space: str, keys: list[str], action: Any
) -> None:
    described = SPACES[space].model_dump(mode="json")
    pressed, names = evaluate(ACTIONS, [described, keys])
    assert pressed == action
    assert len(set(names)) == len(names)
    SPACES[space].check(pressed)
