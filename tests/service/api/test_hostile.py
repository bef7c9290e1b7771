"""Any input gets a short, clear response, and never a 5xx."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamserve.api.examples import examples
from dreamserve_protocol.verbs import BY_NAME, VERBS

JSON, MSGPACK = "application/json", "application/msgpack"
HOLE = "the hole"  # marks the place in a body where a test inserts a value
NAMES = [verb.name for verb in VERBS if verb.has_body]


def with_hole(*path: str, **fields: Any) -> dict[str, Any]:
    """Return `fields` with HOLE at `path`."""
    inner: Any = HOLE
    for name in reversed(path):
        inner = {name: inner}
    outer = path[0]
    return {
        **fields,
        outer: {**fields.get(outer, {}), **inner[outer]} if len(path) > 1 else inner[outer],
    }


def filled(body: Any, value: Any) -> Any:
    """Return `body` with `value` instead of HOLE."""
    if isinstance(body, dict):
        return {name: filled(one, value) for name, one in body.items()}
    if isinstance(body, list):
        return [filled(one, value) for one in body]
    return value if body == HOLE else body


def snapshot(**changed: Any) -> dict[str, Any]:
    return {**examples()["restore"].body, **changed}


def path_of(name: str) -> str:
    return BY_NAME[name].path.format(session_id="s", name="fake")


SAMPLE = {"futures": 1, "horizon": 1, "start": {"bank": 0}}
ROLLOUT = {"episodes": 1, "max_steps": 1}
LAST_STEP = {"include": ["frame"], "info": {}}
ARRAYS: list[tuple[str, Any]] = [
    ("reset", with_hole("start", "latent")),
    ("reset", with_hole("start", "frames")),
    ("reset", with_hole("start", "actions", start={"frames": [[[[0]]], [[[0]]]]})),
    ("step", with_hole("action", session_id="s")),
    ("step", with_hole("observation", session_id="s", action=0)),
    ("reset_batch", with_hole("seeds", count=1)),
    ("reset_batch", with_hole("temperatures", count=1)),
    ("reset_batch", with_hole("bank", count=1)),
    ("reset_batch", with_hole("latents", count=1)),
    ("step_batch", with_hole("actions", session_ids=["s"])),
    ("step_batch", with_hole("steps", session_ids=["s"], actions=[0])),
    ("sample", with_hole("actions", **SAMPLE)),
    ("sample", with_hole("start", "latent", **{**SAMPLE, "start": {}})),
    ("sample", with_hole("policy", "action", **SAMPLE, policy={"kind": "constant"})),
    ("sample", with_hole("policy", "weights", **SAMPLE, policy={"kind": "linear"})),
    (
        "rollout",
        with_hole("policy", "bias", **ROLLOUT, policy={"kind": "linear", "weights": [[1]]}),
    ),
    ("rollout", with_hole("seeds", policy="random", max_steps=1)),
    ("plan", with_hole("objective", "target", session_id="s")),
    ("restore", snapshot(latent=HOLE)),
    ("restore", snapshot(action=HOLE)),
    ("restore", snapshot(state={"memory": HOLE})),
    ("restore", snapshot(last_step={**LAST_STEP, "frame": HOLE})),
    ("restore", snapshot(last_step={**LAST_STEP, "mixture": {"mu": HOLE}})),
]


def nested(depth: int, form: str) -> tuple[bytes, bytes]:
    """Return [[[…1…]]] and HOLE as bytes of that form."""
    if form == JSON:
        return b"[" * depth + b"1" + b"]" * depth, orjson.dumps(HOLE)
    return b"\x91" * depth + b"\x01", msgpack.packb(HOLE)


@pytest.mark.anyio
@pytest.mark.parametrize("depth", [9, 500, 1_000, 100_000])
@pytest.mark.parametrize("form", [JSON, MSGPACK])
async def test_an_array_nested_too_deep_is_refused_in_every_field(client, depth, form) -> None:
    await client.reset(session_id="s", seed=1)
    deep, hole = nested(depth, form)
    for name, body in ARRAYS:
        raw = orjson.dumps(body) if form == JSON else msgpack.packb(body)
        assert raw.count(hole) == 1, name
        response = await client.http.request(
            BY_NAME[name].method,
            path_of(name),
            content=raw.replace(hole, deep),
            headers={"content-type": form},
        )
        assert response.status_code in (413, 422), (name, body, response.text)
        assert len(response.content) < 2048
    stepped = await client.post("/step", {"session_id": "s", "action": 0, "step": 1})
    assert stepped.status_code == 200


@pytest.mark.anyio
async def test_too_many_axes_are_reported_with_the_field(client) -> None:
    deep = orjson.loads(b"[" * 9 + b"1" + b"]" * 9)
    response = await client.post("/reset", {"start": {"latent": deep}})
    assert response.json()["detail"] == "start.latent: an array has at most 8 axes"


LONG = "x" * 3_000_000
LONG_NAMES: list[tuple[str, Any]] = [
    ("reset", {"world": LONG}),
    ("reset", {"session_id": LONG}),
    ("reset", {LONG: 1}),
    ("reset", {"start": {LONG: 1}}),
    ("reset", {"include": [LONG]}),
    ("reset", {"start": {"latent": [LONG]}}),
    ("reset", {"start": {"latent": {LONG: 1}}}),
    ("reset", {"seed": LONG}),
    ("step", {"session_id": "s", "action": LONG}),
    ("step_batch", {"session_ids": [LONG], "actions": [0]}),
    ("reset_batch", {"session_ids": [LONG]}),
    ("reset_batch", {"world": LONG, "count": 1}),
    ("plan", {"session_id": "s", "planner": LONG}),
    ("plan", {"session_id": "s", "options": {LONG: 1.0}}),
    ("plan", {"session_id": "s", "options": {LONG: "1"}}),
    ("plan", {"session_id": "s", "objective": {LONG: 1}}),
    ("sample", {**SAMPLE, "policy": LONG}),
    ("sample", {**SAMPLE, "policy": {"kind": LONG}}),
    ("rollout", {**ROLLOUT, "policy": {"kind": "linear", "weights": [[1.0]], "inputs": [LONG]}}),
    ("rollout", {**ROLLOUT, "policy": {"kind": "constant", "action": 0, LONG: 1}}),
    ("fork", {"session_ids": [LONG]}),
    ("rewind", {LONG: 1}),
    ("restore", snapshot(format=LONG)),
    ("restore", snapshot(format_version=LONG)),
    ("restore", snapshot(format=[LONG])),
    ("restore", snapshot(world=LONG)),
    ("restore", snapshot(world_version=LONG)),
    ("restore", snapshot(digest=LONG)),
    ("restore", snapshot(state={LONG: [1.0]})),
    ("restore", snapshot(last_step={**LAST_STEP, "info": {LONG: 1.0}})),
]


@pytest.mark.anyio
@pytest.mark.parametrize("form", [JSON, MSGPACK])
async def test_long_input_is_never_repeated_in_full_in_a_response(client, form) -> None:
    await client.reset(session_id="s", seed=1)
    for name, body in LONG_NAMES:
        raw = orjson.dumps(body) if form == JSON else msgpack.packb(body)
        response = await client.http.request(
            BY_NAME[name].method, path_of(name), content=raw, headers={"content-type": form}
        )
        assert 400 <= response.status_code < 500, (name, body.keys(), response.text[:500])
        assert size_of(response) <= 2048, (name, response.text[:500])


@pytest.mark.anyio
async def test_long_input_outside_the_body_is_not_repeated_either(client) -> None:
    await client.reset(session_id="s", seed=1)
    response = await client.http.post("/reset", json={}, headers={"x-request-id": LONG})
    assert size_of(response) <= 2048
    some = LONG[:60_000]  # httpx bounds the length of a URL
    for method, path, headers in [
        ("GET", f"/{some}", {}),
        ("GET", f"/{some}/", {}),
        ("GET", f"/sessions/{some}", {}),
        ("GET", f"/worlds/{some}", {}),
        ("POST", f"/sessions/{some}/fork", {}),
        ("DELETE", f"/sessions/{some}", {}),
        ("POST", "/step", {"content-type": LONG}),
        ("POST", "/step", {"content-type": JSON, "content-encoding": LONG}),
        ("POST", "/step", {"content-type": JSON, "x-session-id": LONG}),
        ("GET", "/sessions/s", {"x-session-id": LONG}),
        ("POST", "/reset", {"origin": LONG}),
        ("POST", "/reset", {"origin": f"http://{LONG}"}),
        (LONG[:1000], "/step", {}),
    ]:
        response = await client.http.request(
            method, path, content=b'{"action": 0}', headers=headers
        )
        assert 400 <= response.status_code < 500, (method, path[:50], response.text[:500])
        assert size_of(response) <= 2048, (method, path[:50])


def size_of(response: httpx.Response) -> int:
    return len(response.content) + sum(len(k) + len(v) for k, v in response.headers.raw)


FIELDS = sorted(
    {
        name
        for example in examples().values()
        if isinstance(example.body, dict)
        for name in example.body
    }
    | {"start", "latent", "frames", "bank", "policy", "kind", "weights", "objective", "observation"}
)
KEYS = st.sampled_from(FIELDS) | st.text(max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["s", "random", "linear", "constant", "cem", "frame", "state", "fake"])
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
PACKED = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["<f4", "<i8", "|u1", "|b1", ">f4", "<c8", "|O"]) | LEAVES,
        "shape": st.lists(st.integers(-1, 4), max_size=4) | LEAVES,
        "data": st.binary(max_size=64) | LEAVES,
    }
)
MSGPACK_ONLY = (
    PACKED
    | st.binary(max_size=16)
    | st.floats()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**32))
    | st.dictionaries(st.binary(max_size=4), LEAVES, max_size=2)
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Any, str]:
    """Return a verb, a random body or a changed example, and its form."""
    name, form = draw(st.sampled_from(NAMES)), draw(st.sampled_from([JSON, MSGPACK]))
    values = DOCUMENTS if form == JSON else DOCUMENTS | MSGPACK_ONLY
    if draw(st.integers(0, 4)) == 0:
        return name, draw(values), form
    body = dict(examples()[name].body)
    body.update(
        draw(st.dictionaries(st.sampled_from(sorted(body) or ["count"]) | KEYS, values, max_size=2))
    )
    return name, body, form


@pytest.fixture
def send_request(serving) -> Iterator[Any]:
    """Return a function that sends a request to a small server from outside its event loop."""
    small = {"max_dreamt_steps": 2000, "max_rows": 50, "max_frames": 20, "max_rewind": 10}
    with asyncio.Runner() as runner:
        context = serving(**small)
        client = runner.run(context.__aenter__())

        def send(name: str, body: bytes, form: str) -> httpx.Response:
            request = client.http.request(
                BY_NAME[name].method, path_of(name), content=body, headers={"content-type": form}
            )
            return runner.run(asyncio.wait_for(request, 30))

        yield send
        runner.run(context.__aexit__(None, None, None))


BY_THE_HUNDREDS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BY_THE_HUNDREDS
@given(request=requests())
def test_no_document_makes_the_server_fail(send_request, request) -> None:
    name, body, form = request
    raw = orjson.dumps(body) if form == JSON else msgpack.packb(body)
    response = send_request(name, raw, form)
    assert response.status_code < 500, response.text
    assert response.status_code != 429


@BY_THE_HUNDREDS
@given(
    name=st.sampled_from(NAMES), raw=st.binary(max_size=60), form=st.sampled_from([JSON, MSGPACK])
)
def test_no_bytes_make_the_server_fail(send_request, name, raw, form) -> None:
    assert send_request(name, raw, form).status_code < 500
