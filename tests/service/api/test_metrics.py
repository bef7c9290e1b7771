"""GET /metrics: its form, its numbers, and that no client can add to its labels."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dreamserve import __version__
from dreamserve.api.access.keys import digest_of, entry_for, new_key
from dreamserve.api.metrics import METRICS
from dreamserve_protocol.errors import error_classes
from dreamserve_protocol.verbs import VERBS

pytestmark = pytest.mark.anyio
Serving = Callable[..., Any]
TAKECOVER = Path(__file__).parents[3] / "bundles" / "takecover"
UNITS = ("_seconds", "_bytes", "_total", "_rows", "_nats", "_info")


async def samples(client: Any) -> dict[tuple[str, ...], float]:
    """Return the values by name and labels, sorted by the labels' names."""
    response = await client.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def named(found: dict[tuple[str, ...], float], name: str) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in found.items() if key[0] == name and value}


def label_sets(found: dict[tuple[str, ...], float]) -> set[tuple[str, ...]]:
    return {key for key in found if key[0].startswith("dreamserve_")}


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len({row.name for row in METRICS}) == len(METRICS)
    for row in METRICS:
        assert re.fullmatch(r"dreamserve_[a-z_]+", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter"), row.name
        if row.kind == "histogram":
            assert row.name.endswith(UNITS), row.name
        assert row.help.endswith("."), row.name


async def test_a_server_tells_what_it_is_before_any_request(client: Any) -> None:
    found = await samples(client)
    (build,) = (key for key in found if key[0] == "dreamserve_build_info")
    assert __version__ in build
    worlds = [key for key in found if key[0] == "dreamserve_world_info"]
    assert {"fake", "box"} <= {label for key in worlds for label in key}
    assert found["dreamserve_ready",] == 1
    assert found["dreamserve_draining",] == 0
    assert found["dreamserve_sessions", "fake"] == 0
    assert found["dreamserve_sessions_capacity",] == client.app.service.settings.capacity
    assert (
        found["dreamserve_sessions_memory_bytes",] == client.app.service.engine.usage.memory_bytes
    )
    assert found["process_resident_memory_bytes",] > 1e6


async def test_requests_sessions_and_steps_are_counted(client: Any) -> None:
    session_id = (await client.reset())["session_id"]
    await client.reset(world="box")
    for _ in range(3):
        await client.post("/step", {"session_id": session_id, "action": 1})
    plan = {"session_id": session_id, "horizon": 2, "candidates": 4}
    assert (await client.post("/plan", plan)).status_code == 200
    await client.http.delete(f"/sessions/{session_id}")
    found = await samples(client)
    assert named(found, "dreamserve_requests_total") == {
        ("ok", "200", "reset"): 2,
        ("ok", "200", "step"): 3,
        ("ok", "200", "plan"): 1,
        ("ok", "204", "delete"): 1,
    }
    assert found["dreamserve_sessions", "box"] == 1
    assert found["dreamserve_sessions", "fake"] == 0
    assert found["dreamserve_sessions_deleted_total", "fake"] == 1
    assert found["dreamserve_step_batch_rows_sum", "fake"] == 3
    assert found["dreamserve_request_duration_seconds_count", "step"] == 3
    assert found["dreamserve_queue_duration_seconds_count",] == 7
    assert found["dreamserve_request_duration_seconds_bucket", "60.0", "step"] == 3


async def test_errors_are_counted_once_wherever_they_arise(serving: Serving) -> None:
    async with serving(capacity=1) as client:
        session_id = (await client.reset())["session_id"]
        await client.post("/reset", {})  # full
        await client.post("/step", {"session_id": session_id})  # not valid
        await client.post("/step", {"session_id": "nobody", "action": 1})
        await client.http.get("/sessions/nobody")
        await client.http.get("/nope")
        await client.http.put("/step")
        await client.post("/step", {}, origin="http://evil.test")
        await client.http.post("/v2/models/fake/infer", json={})
        requests = named(await samples(client), "dreamserve_requests_total")
        assert {labels: count for labels, count in requests.items() if labels[0] != "ok"} == {
            ("overloaded", "429", "reset"): 1,
            ("invalid_request", "422", "step"): 1,
            ("session_not_found", "404", "step"): 1,
            ("session_not_found", "404", "session"): 1,
            ("not_found", "404", "other"): 1,
            ("method_not_allowed", "405", "other"): 1,
            ("forbidden_origin", "403", "step"): 1,
            ("invalid_request", "422", "inference"): 1,
        }


async def test_no_client_can_add_labels(client: Any) -> None:
    await client.reset()
    before = label_sets(await samples(client))
    for i in range(50):
        await client.http.get(f"/path{i}")
        await client.http.request(f"VERB{i}", "/step")
        await client.http.get(f"/sessions/s{i}")
        await client.http.get(f"/worlds/w{i}")
        await client.http.get("/readyz", headers={"x-request-id": f"r{i}"})
        await client.reset(session_id=f"s{i}")
    added = label_sets(await samples(client)) - before
    assert len(added) <= 4  # not_found, method_not_allowed, session_not_found, world_not_found
    codes = {error.code for error in error_classes()}
    values = {value for key in added for value in key[1:]}
    verbs = {verb.name for verb in VERBS}
    assert values <= codes | verbs | {"other", "404", "405"}


async def test_observed_steps_show_their_surprise(client: Any) -> None:
    start = await client.reset()
    observation = np.zeros(len(start["latent"])).tolist()
    fields = {"session_id": start["session_id"], "action": 1, "observation": observation}
    assert (await client.post("/step", fields)).status_code == 200
    found = await samples(client)
    assert found["dreamserve_surprise_nats_bucket", "+Inf", "fake"] == 1


async def test_the_format_is_the_one_that_prometheus_asks_for(client: Any) -> None:
    response = await client.http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_metrics_can_be_switched_off(serving: Serving) -> None:
    async with serving(metrics=False) as client:
        assert (await client.http.get("/metrics")).json()["code"] == "not_found"


async def test_two_servers_in_one_process_count_apart(serving: Serving) -> None:
    async with serving() as one, serving() as other:
        await one.reset()
        assert (await samples(one))["dreamserve_sessions", "fake"] == 1
        assert (await samples(other))["dreamserve_sessions", "fake"] == 0


async def test_with_api_keys_a_key_is_needed_of_any_owner(serving: Serving, tmp_path: Path) -> None:
    key, keys = new_key(), tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "prometheus"\nsha256 = "{digest_of(key.encode())}"\n')
    async with serving(api_keys_file=str(keys)) as client:
        client.unforeseen |= {"unauthorized"}
        assert (await client.http.get("/metrics")).status_code == 401
        client.http.headers["authorization"] = f"Bearer {key}"
        found = await samples(client)
        assert found["dreamserve_requests_total", "unauthorized", "401", "other"] == 1
        assert "prometheus" not in {label for labels in found for label in labels}


async def test_a_server_with_a_store_tells_how_the_store_does(
    serving: Serving, tmp_path: Path
) -> None:
    async with serving(store=f"sqlite:{tmp_path / 'dreams.db'}") as client:
        session_id = (await client.reset())["session_id"]
        await client.post("/step", {"session_id": session_id, "action": 1})
        found = await samples(client)
    assert found["dreamserve_store_up",] == 1
    assert found["dreamserve_store_requests",] == 0
    assert found["dreamserve_store_errors_total",] == 0
    assert named(found, "dreamserve_store_commits_total") == {("confirmed",): 2}
    assert found["dreamserve_store_operation_duration_seconds_count", "commit"] == 2
    assert found["dreamserve_request_duration_seconds_count", "step"] == 1


async def test_a_server_without_a_store_has_no_numbers_of_it(client: Any) -> None:
    assert not [key for key in await samples(client) if key[0].startswith("dreamserve_store")]


async def test_worlds_that_are_loaded_and_retired_are_counted(
    serving: Serving, tmp_path: Path
) -> None:
    key, keys = new_key(), tmp_path / "keys.toml"
    keys.write_text(entry_for("root", key, admin=True))
    (tmp_path / "takecover").symlink_to(TAKECOVER)
    async with serving(api_keys_file=str(keys), worlds_folder=str(tmp_path)) as client:
        client.http.headers["authorization"] = f"Bearer {key}"
        loaded = await client.http.post("/admin/worlds", json={"folder": "takecover"})
        assert loaded.status_code == 200
        assert (await client.http.delete("/admin/worlds/takecover")).status_code == 204
        assert (await client.http.delete("/admin/worlds/takecover")).status_code == 404
        found = await samples(client)
    assert named(found, "dreamserve_requests_total") == {
        ("ok", "200", "admin_load"): 1,
        ("ok", "204", "admin_unload"): 1,
        ("world_not_found", "404", "admin_unload"): 1,
    }
    assert found["dreamserve_request_duration_seconds_sum", "admin_load"] > 0


WRONG = [
    "text/plain;version=x",
    "application/openmetrics-text; version=1.x",
    "text/plain;version=\u00b2",
]


@pytest.mark.parametrize("accept", [*WRONG, "," * 60_000])
async def test_an_accept_header_that_names_no_version_gets_the_default_format(
    client, accept, caplog
) -> None:
    response = await client.http.get("/metrics", headers={"accept": accept.encode("latin-1")})
    default = await client.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == default.headers["content-type"]
    assert not caplog.records
