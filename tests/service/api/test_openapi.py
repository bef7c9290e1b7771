"""The OpenAPI document is right: real responses and its own examples fit it."""

import base64
import re
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest

from dreamserve.api.examples import examples
from dreamserve.api.openapi import document
from dreamserve.engine.sessions.table import INSTANCE
from dreamserve.validation import validated
from dreamserve_protocol.errors import CallerError, InternalError
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.png import encode
from dreamserve_protocol.verbs import BY_NAME, VERBS

INFO = {"surprise", "expected_surprise", "predicted_terminated", "end_probability"}
DOCUMENT = document(examples())
SCHEMAS = DOCUMENT["components"]["schemas"]
JSON, MSGPACK, PROBLEM = "application/json", "application/msgpack", "application/problem+json"
VERB_NAMES = [verb.name for verb in VERBS]


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def operation_of(verb_name: str) -> dict[str, Any]:
    verb = BY_NAME[verb_name]
    operation: dict[str, Any] = DOCUMENT["paths"][verb.path][verb.method.lower()]
    return operation


def validate(value: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def every_node(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        return [node, *(one for value in node.values() for one in every_node(value))]
    return [one for value in node for one in every_node(value)] if isinstance(node, list) else []


def test_every_verb_and_page_is_there_with_both_forms_and_its_problems() -> None:
    routes = dict(operations())
    declared = {f"{verb.method} {verb.path}" for verb in VERBS}
    assert routes.keys() == declared | {f"GET {page.path}" for page in PAGES}
    for name, operation in routes.items():
        assert operation["summary"], name
        assert operation["description"], name
        responses = operation["responses"]
        assert PROBLEM in responses["default"]["content"], name
        if "200" in responses:
            assert responses["200"]["content"].keys() == {JSON, MSGPACK}, name
        if name.startswith(("POST", "PUT")):
            assert operation["requestBody"]["content"].keys() == {JSON, MSGPACK}, name
            assert operation["requestBody"]["content"][JSON]["example"] is not None, name
            assert {"413", "415", "422", "429", "500", "503"} <= responses.keys(), name
        for status, response in responses.items():
            if PROBLEM in response.get("content", {}):
                assert response["content"][PROBLEM]["examples"], (name, status)


def test_a_generated_client_has_one_type_for_a_body_and_may_leave_out_what_is_optional() -> None:
    for name, operation in operations():
        responses = operation["responses"].values()
        for body in [operation.get("requestBody", {}), *responses]:
            content = body.get("content", {})
            if MSGPACK in content:
                assert content[MSGPACK]["schema"] == content[JSON]["schema"], name
    fields = [
        (field, one) for one in SCHEMAS.values() for field in one.get("properties", {}).items()
    ]
    assert fields
    for (field, schema), whole in fields:
        assert schema.get("default", 0) is not None, (field, whole["title"])
        assert "default" not in schema or field not in whole.get("required", ()), field


def test_the_document_is_of_openapi_3_1_and_its_schemas_are_json_schemas() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    for name, operation in operations():
        assert operation["responses"], name
        in_path = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", name)), name


def test_the_document_is_the_same_in_every_process_and_names_no_machine() -> None:
    examples.cache_clear()
    assert document(examples()) == DOCUMENT
    assert INSTANCE not in orjson.dumps(DOCUMENT).decode()


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert set(VERB_NAMES) <= set(ids)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    known = {f"#/components/schemas/{name}" for name in SCHEMAS}
    used = {node["$ref"] for node in every_node(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert used == known


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_message_and_every_field_is_described(name: str) -> None:
    assert SCHEMAS[name]["description"]
    for field, described in SCHEMAS[name].get("properties", {}).items():
        assert described.get("description"), field


def test_arrays_are_nested_lists_in_json() -> None:
    # packed ones are msgpack's alone: `data` is binary, which JSON has not
    for node in every_node(SCHEMAS):
        assert not {"dtype", "data"} & node.get("properties", {}).keys()
    validate([0.5, 0.1], SCHEMAS["StepResult"]["properties"]["latent"])


@pytest.mark.anyio
async def test_frames_are_nested_lists_or_files_on_both_ways(client) -> None:
    file = {"png": base64.b64encode(encode(np.zeros((8, 8, 3), np.uint8))).decode()}
    asked = {"include": ["frame"], "frame_format": "png"}
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("reset", "/reset", {"session_id": "a", "start": {"frames": [file]}, **asked}),
        ("step", "/step", {"session_id": "a", "action": 1, "observation": file, **asked}),
        (
            "step_batch",
            "/step/batch",
            {"session_ids": ["a"], "actions": [1], "observations": [file], **asked},
        ),
    ]
    for name, path, body in bodies:
        operation = operation_of(name)
        validate(body, operation["requestBody"]["content"][JSON]["schema"])
        response = await client.post(path, body)
        validate(response.json(), operation["responses"]["200"]["content"][JSON]["schema"])
    for wrong in ({"png": 7}, {"png": "", "shape": []}, {"jpeg": ""}, [1, 2]):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong, SCHEMAS["StepResult"]["properties"]["frame"])


def test_the_info_of_a_step_is_described() -> None:
    info = SCHEMAS["StepResult"]["properties"]["info"]
    assert info["properties"].keys() == INFO
    assert all(field["description"] for field in info["properties"].values())


@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.has_body])
def test_a_body_is_required_where_a_request_without_one_is_refused(name: str) -> None:
    optional = {"reset", "fork"}
    assert operation_of(name)["requestBody"]["required"] is (name not in optional)


@pytest.mark.parametrize("name", VERB_NAMES)
def test_every_example_fits_its_schema_and_its_verb(name: str) -> None:
    operation, example = operation_of(name), examples()[name]
    verb = BY_NAME[name]
    if verb.has_body:
        content = operation["requestBody"]["content"][JSON]
        assert content["example"] == example.body
        validate(example.body, content["schema"])
        body = {verb.body: example.body} if verb.body is not None else example.body
        validated(verb.request, {**dict.fromkeys(verb.path_fields, "a"), **body})
    if verb.result is not None:
        content = operation["responses"]["200"]["content"][JSON]
        assert content["example"] == example.result
        validate(example.result, content["schema"])
    else:
        assert "200" not in operation["responses"]


@pytest.mark.parametrize(("name", "operation"), operations())
def test_every_problem_example_fits_its_schema(name: str, operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        problem = response.get("content", {}).get(PROBLEM, {})
        for example in problem.get("examples", {}).values():
            validate(example["value"], problem["schema"])


@pytest.mark.parametrize("name", VERB_NAMES)
def test_every_declared_error_of_a_verb_has_an_example(name: str) -> None:
    shown = {
        code
        for response in operation_of(name)["responses"].values()
        for code in response.get("content", {}).get(PROBLEM, {}).get("examples", ())
    }
    assert shown == {error.code for error in (*BY_NAME[name].all_errors, InternalError)}


@pytest.mark.anyio
@pytest.mark.parametrize(("world", "action"), [("fake", 1), ("box", [0.5, 0.1])])
async def test_real_responses_fit_the_document(client, world, action) -> None:
    async def check(name: str, path: str, fields: Any = None) -> Any:
        response = await client.http.request(BY_NAME[name].method, path, json=fields)
        assert response.status_code == 200, response.text
        validate(response.json(), operation_of(name)["responses"]["200"]["content"][JSON]["schema"])
        if fields is not None:
            validate(fields, operation_of(name)["requestBody"]["content"][JSON]["schema"])
        return response.json()

    of = {"session_id": world}
    include = {"include": ["frame", "state"]}
    every = {"include": ["frame", "mixture", "state"]}
    await check("reset", "/reset", {**of, "world": world, "rewind_window": 3, **include})
    await check("step", "/step", {**of, "action": action})
    info = (
        await check("step", "/step", {**of, "action": action, "observation": [0.1] * 4, **every})
    )["info"]
    assert info.keys() == INFO
    frame = [[[128] * 3] * 8] * 8
    await check("step", "/step", {**of, "action": action, "observation": frame, **every})
    parts = ["frames", "mixture", "entropy", "most_likely", "components"]
    await check("sample", "/sample", {**of, "futures": 2, "horizon": 2, "include": parts})
    await check(
        "sample", "/sample", {"start": {"bank": 1}, "world": world, "futures": 2, "horizon": 2}
    )
    rollout = {"world": world, "policy": "random", "episodes": 2, "max_steps": 3}
    await check("rollout", "/rollout", {**rollout, "include": ["trajectories"]})
    await check(
        "rollout", "/rollout", {**rollout, "policy": {"kind": "constant", "action": action}}
    )
    await check(
        "plan", "/plan", {**of, "candidates": 8, "horizon": 3, "objective": {"survival": 1}}
    )
    await check("fork", f"/sessions/{world}/fork", {"count": 2, **include})
    await check("rewind", f"/sessions/{world}/rewind", {"steps": 0, **include})
    kept = await check("snapshot", f"/sessions/{world}/snapshot")
    await check("restore", "/sessions/put/snapshot", kept)
    started = await check("reset_batch", "/reset/batch", {"count": 2, "world": world})
    batch = {"session_ids": started["session_ids"], "actions": [action] * 2, "steps": [1, 7]}
    assert (await check("step_batch", "/step/batch", batch))["errors"]
    await check("session", f"/sessions/{world}")
    await check("world", f"/worlds/{world}")
    await check("worlds", "/worlds")


POLICIES: list[Any] = [
    *("random", "bundled", "constant", "linear", {}, {"kind": None}, {"kind": "x"}, None, 1, []),
    *({"kind": "random"}, {"kind": "bundled"}, {"kind": "random", "x": 1}, {"kind": "constant"}),
    *({"action": 1}, {"kind": "constant", "action": 1}, {"kind": "linear", "action": 1}),
    *({"weights": [[0.0] * 8] * 3}, {"kind": "linear", "weights": [[0.0] * 8] * 3}),
    {"kind": "linear", "weights": [[0.0] * 8] * 3, "bias": None, "inputs": None},
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_the_document_takes_the_policies_that_the_server_takes(policy: Any) -> None:
    fields = {"policy": policy, "episodes": 1, "max_steps": 2}
    schema = {"$ref": "#/components/schemas/RolloutRequest"}
    try:
        validated(BY_NAME["rollout"].request, fields)
    except CallerError:
        with pytest.raises(jsonschema.ValidationError):
            validate(fields, schema)
    else:
        validate(fields, schema)


@pytest.mark.anyio
async def test_a_policy_whose_episodes_are_all_nan_fits_the_document(client) -> None:
    weights = np.full((2, 3, 8), np.nan, np.float32)
    fields = {"policy": {"kind": "linear", "weights": weights}, "episodes": 2, "max_steps": 3}
    answer = (await client.post("/rollout", fields, "msgpack", accept=JSON)).json()
    assert answer["statistics"]["mean_return"] == [None, None]
    validate(answer, operation_of("rollout")["responses"]["200"]["content"][JSON]["schema"])


@pytest.mark.anyio
async def test_the_servers_own_pages_fit_the_document(client) -> None:
    for page in PAGES:
        schema = DOCUMENT["paths"][page.path]["get"]["responses"]["200"]["content"][JSON]["schema"]
        validate((await client.http.get(page.path)).json(), schema)
    problem = (await client.http.get("/nowhere")).json()
    validate(problem, {"$ref": "#/components/schemas/Problem"})


@pytest.mark.anyio
async def test_the_document_is_served(client) -> None:
    served = await client.http.get("/openapi.json")
    assert served.headers["content-type"] == "application/json"
    assert served.json() == DOCUMENT
    assert client.app.openapi() == DOCUMENT
