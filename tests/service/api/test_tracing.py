"""OpenTelemetry traces, read from the SDK's in-memory exporter."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from dreamserve.api import tracing, world_changes
from dreamserve.api.access.keys import entry_for
from dreamserve.api.app import create_app
from dreamserve.engine.configured import engine_of
from dreamserve.engine.fake import fake_world
from dreamserve.errors import SettingsError
from dreamserve.settings import Settings
from dreamserve_client import AsyncDreamClient
from dreamserve_protocol.errors import DreamNotFiniteError

pytestmark = pytest.mark.anyio
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


class Traces:
    """A tracer, and the spans that it has ended."""

    def __init__(self) -> None:
        self._exporter, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span


@pytest.fixture
def traces() -> Iterator[Traces]:
    traces = Traces()
    yield traces
    traces.provider.shutdown()


@asynccontextmanager
async def _traced(traces: Traces, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(**changed)
    engine = engine_of([fake_world(), fake_world("box", discrete=False)], settings)
    app = create_app(engine, settings)
    app.wrappers.append(tracing.trace(app.service, traces.tracer))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        asyncio.timeout(30),
    ):
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.001)
        yield http


async def test_a_request_is_a_span_of_the_callers_trace_with_its_verb_inside(
    traces: Traces,
) -> None:
    async with _traced(traces) as http:
        await http.post("/reset", json={"session_id": "s1", "world": "box"})
        response = await http.post(
            "/step",
            json={"session_id": "s1", "action": [0, 0]},
            headers={"traceparent": TRACEPARENT},
        )
        assert response.status_code == 200, response.text
    request, step = traces.named("POST step"), traces.named("step")
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == CALLER
    assert request.kind is SpanKind.SERVER
    assert request.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "dreamserve.request_id": response.headers["x-request-id"],
    }
    assert step.parent is not None
    assert step.parent.span_id == request.context.span_id
    attributes = dict(step.attributes or {})
    assert 0 <= attributes.pop("dreamserve.queue_s") < 30
    assert attributes == {
        "dreamserve.session_id": "s1",
        "dreamserve.world": "box",
        "dreamserve.batch_requests": 1,
    }


async def test_an_error_of_the_caller_names_its_code_and_is_no_error_of_the_server(
    traces: Traces,
) -> None:
    async with _traced(traces) as http:
        await http.post("/step", json={"session_id": "nobody", "action": 1})
        await http.post("/step", json={})
    attributes = traces.named("step").attributes or {}
    assert attributes["dreamserve.code"] == "session_not_found"
    requests = [span for span in traces.spans if span.name == "POST step"]
    statuses = [(span.attributes or {})["http.response.status_code"] for span in requests]
    assert statuses == [404, 422]
    assert all(span.status.status_code is not StatusCode.ERROR for span in requests)


async def test_an_error_of_the_server_is_marked(traces: Traces) -> None:
    inner: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    tracing.SpanFuture(inner, traces.tracer.start_span("plan")).set_exception(
        DreamNotFiniteError("NaN")
    )
    assert isinstance(inner.exception(), DreamNotFiniteError)
    assert traces.named("plan").status.status_code is StatusCode.ERROR


async def test_an_unexpected_error_is_answered_and_marked(
    traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(world_changes, "load_world", load)
    keys = tmp_path / "keys.toml"
    keys.write_text(entry_for("root", "root-key", admin=True))
    async with _traced(traces, api_keys_file=str(keys), worlds_folder=str(tmp_path)) as http:
        response = await http.post(
            "/admin/worlds", json={"folder": "x"}, headers={"authorization": "Bearer root-key"}
        )
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    span = traces.named("admin_load")
    assert (span.attributes or {})["dreamserve.code"] == "internal_error"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_cancelled_request_ends_its_span(traces: Traces) -> None:
    inner: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future = tracing.SpanFuture(inner, traces.tracer.start_span("step"))
    assert not future.done()
    inner.cancel()
    assert future.cancelled()
    assert future.done()
    assert (traces.named("step").attributes or {})["dreamserve.code"] == "cancelled"


async def test_the_sdk_continues_the_trace_of_its_caller(traces: Traces) -> None:
    async with _traced(traces) as http:
        client = AsyncDreamClient("http://localhost", http_client=http)
        with traces.tracer.start_as_current_span("agent") as agent:
            await client.reset()
        await client.worlds()
    reset, worlds = traces.named("POST reset"), traces.named("GET worlds")
    assert reset.parent is not None
    assert reset.parent.span_id == agent.get_span_context().span_id
    assert worlds.parent is None


def test_without_a_span_the_sdk_does_not_look_for_opentelemetry() -> None:
    code = """
import sys
from dreamserve_client.tracing import trace_headers
assert trace_headers() == {}
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_serving_without_traces_does_not_import_the_sdk_of_opentelemetry() -> None:
    code = """
import sys
import dreamserve.cli.serving
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_service_is_named_by_otel_variables_or_dreamserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert resource()["service.name"] == "dreamserve"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "dreams-of-mine")
    assert resource()["service.name"] == "dreams-of-mine"


def resource() -> Any:
    span = tracing.provider_of_environment().tracer.start_span("any")
    assert isinstance(span, ReadableSpan)
    return span.resource.attributes


def test_an_exporter_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(SettingsError, match="no exporter 'carrier-pigeon' is installed"):
        tracing.provider_of_environment()


def test_variables_of_opentelemetry_are_not_settings_of_dreamserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "x")
    assert Settings.load() == Settings()
