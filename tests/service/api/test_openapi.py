"""The document tells the truth: real answers and its own examples fit it."""

from dataclasses import fields
from typing import Any

import jsonschema
import pytest

from dreamserve.api import answers, schemas
from dreamserve.api.examples import BODIES, DETAILS
from dreamserve.api.openapi import document
from dreamserve.api.routes import router
from dreamserve.engine import types
from dreamserve_protocol.errors import CallerError, ServerError

DOCUMENT = document(router.routes)
JSON, MSGPACK, PROBLEM = "application/json", "application/msgpack", "application/problem+json"


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def validate(value: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def answer_schema(route: str) -> dict[str, Any]:
    method, path = route.split()
    content = DOCUMENT["paths"][path][method.lower()]["responses"]["200"]["content"]
    schema: dict[str, Any] = content[JSON]["schema"]
    return schema


def test_every_route_is_there_with_both_forms_and_its_problems() -> None:
    routes = dict(operations())
    assert routes.keys() == {
        "POST /reset",
        "POST /step",
        "POST /reset/batch",
        "POST /step/batch",
        "POST /sample",
        "POST /rollout",
        "POST /plan",
        "GET /sessions/{session_id}",
        "POST /sessions/{session_id}/fork",
        "POST /sessions/{session_id}/rewind",
        "GET /sessions/{session_id}/snapshot",
        "PUT /sessions/{session_id}/snapshot",
        "DELETE /sessions/{session_id}",
        "GET /worlds",
        "GET /worlds/{name}",
        "GET /livez",
        "GET /readyz",
        "GET /",
    }
    for name, operation in routes.items():
        assert operation["summary"], name
        assert operation["description"], name
        responses = operation["responses"]
        assert PROBLEM in responses["default"]["content"], name
        if "200" in responses:
            assert responses["200"]["content"].keys() == {JSON, MSGPACK}, name
        if name.startswith("POST"):
            assert operation["requestBody"]["content"].keys() == {JSON, MSGPACK}, name
            assert operation["requestBody"]["content"][JSON]["example"], name
            assert {"413", "415", "422", "429", "500", "503"} <= responses.keys(), name
        for status, response in responses.items():
            if PROBLEM in response.get("content", {}):
                assert response["content"][PROBLEM]["examples"], (name, status)


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known


def test_every_field_of_a_request_and_an_answer_is_explained_or_plain() -> None:
    for model in (
        schemas.Fork,
        schemas.Rewind,
        schemas.Reset,
        schemas.Step,
        schemas.Sample,
        schemas.Rollout,
        schemas.Plan,
        schemas.Start,
    ):
        fields = DOCUMENT["components"]["schemas"][model.__name__]["properties"]
        assert all("description" in field for field in fields.values()), model


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_every_example_fits_its_schema_and_its_model(model: Any) -> None:
    validate(BODIES[model], {"$ref": f"#/components/schemas/{model.__name__}"})
    model.model_validate(BODIES[model])


@pytest.mark.parametrize(("name", "operation"), operations())
def test_every_problem_example_fits_its_schema(name: str, operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        problem = response.get("content", {}).get(PROBLEM, {})
        for example in problem.get("examples", {}).values():
            validate(example["value"], problem["schema"])


def test_every_code_of_the_error_tree_has_an_example() -> None:
    leaves = [*CallerError.__subclasses__(), *ServerError.__subclasses__()]
    assert {leaf.code for leaf in leaves} <= DETAILS.keys()


def test_an_array_may_be_packed_in_the_document() -> None:
    forms = DOCUMENT["components"]["schemas"]["StepAnswer"]["properties"]["latent"]["anyOf"]
    assert {"$ref": "#/components/schemas/PackedArray"} in forms
    assert {"type": "array", "items": {"type": "number"}} in forms


@pytest.mark.anyio
async def test_real_answers_fit_the_document(client) -> None:
    async def check(route: str, response: Any) -> None:
        assert response.status_code == 200, response.text
        validate(response.json(), answer_schema(route))

    everything = {"include": ["frame", "mixture", "state"]}
    for world, action in (("fake", 1), ("box", [0.5, 0.1])):
        fields = {"session_id": world, "world": world, "include": ["frame", "state"]}
        await check("POST /reset", await client.post("/reset", fields))
        fields = {"session_id": world, "action": action, "observation": [0.1] * 4} | everything
        await check("POST /step", await client.post("/step", fields))
        fields = {"session_id": world, "futures": 2, "horizon": 2}
        parts = ["frames", "mixture", "entropy", "most_likely", "components"]
        await check("POST /sample", await client.post("/sample", fields | {"include": parts}))
        await check("POST /sample", await client.post("/sample", fields))
        fields = {"world": world, "policy": "random", "episodes": 2, "max_steps": 3}
        fields |= {"include": ["trajectories"]}
        await check("POST /rollout", await client.post("/rollout", fields))
        fields = {"session_id": world, "candidates": 8, "horizon": 3}
        await check("POST /plan", await client.post("/plan", fields))
        fields = {"count": 2, "include": ["frame", "state"]}
        path = "/sessions/{session_id}"
        await check(f"POST {path}/fork", await client.post(f"/sessions/{world}/fork", fields))
        back = {"to_step": 1, "include": ["frame", "state"]}
        await check(f"POST {path}/rewind", await client.post(f"/sessions/{world}/rewind", back))
        kept = await client.http.get(f"/sessions/{world}/snapshot")
        await check(f"GET {path}/snapshot", kept)
        validate(kept.json(), {"$ref": "#/components/schemas/Snapshot"})
        put = await client.http.put("/sessions/put/snapshot", json=kept.json())
        await check(f"PUT {path}/snapshot", put)
        told = await client.http.get(f"/sessions/{world}")
        await check("GET /sessions/{session_id}", told)
        await check("GET /worlds/{name}", await client.http.get(f"/worlds/{world}"))
    for path in ("/worlds", "/livez", "/readyz", "/"):
        await check(f"GET {path}", await client.http.get(path))
    problem = (await client.http.get("/nowhere")).json()
    validate(problem, {"$ref": "#/components/schemas/Problem"})


@pytest.mark.anyio
async def test_the_document_and_its_page_are_served(client) -> None:
    assert (await client.http.get("/openapi.json")).json() == DOCUMENT
    page = await client.http.get("/docs")
    assert "text/html" in page.headers["content-type"]


def test_the_answers_have_the_fields_of_the_engines_results() -> None:
    pairs = [
        (answers.ResetAnswer, types.ResetResult),
        (answers.StepAnswer, types.StepResult),
        (answers.SampleAnswer, types.SampleResult),
        (answers.RolloutAnswer, types.RolloutResult),
        (answers.MostLikelyAnswer, types.MostLikely),
        (answers.ComponentsAnswer, types.Components),
        (answers.PlanAnswer, types.PlanResult),
        (answers.ForkAnswer, types.ForkResult),
        (answers.RewindAnswer, types.RewindResult),
        (answers.SnapshotAnswer, types.Snapshot),
        (answers.SessionAnswer, types.SessionResult),
    ]
    for answer, result in pairs:
        assert list(answer.model_fields) == [field.name for field in fields(result)]
