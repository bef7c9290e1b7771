"""Traces are exported over HTTP to a collector, and no request waits for it."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.trace import TracerProvider

import dreamserve_client as sdk
from dreamserve.api.tracing import EXPORT_AT_END_S

PATIENCE_S = 30.0
OPTIONS = ("--traces", "--drain-s", "0")
EXPORT_TIMEOUT_S = 10.0  # the exporter's default


class Collector(ThreadingHTTPServer):
    """Receives spans as OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: list[ExportTraceServiceRequest] = []

    @property
    def resources(self) -> list[ResourceSpans]:
        """What came: spans, and which service they are of."""
        return [one for request in self.received for one in request.resource_spans]

    @property
    def spans(self) -> list[Span]:
        """The spans that came."""
        return [span for one in self.resources for scope in one.scope_spans for span in scope.spans]


class Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def attributes_of(one: Span | Resource) -> dict[str, object]:
    """Return the attributes of a span or a service as Python's values."""
    return {
        part.key: getattr(part.value, part.value.WhichOneof("value")) for part in one.attributes
    }


def test_a_collector_gets_the_spans_of_the_callers_trace(
    serve, exported_bundle, monkeypatch: pytest.MonkeyPatch
):
    provider = TracerProvider()
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with serve(exported_bundle, *OPTIONS) as served, sdk.DreamClient(served.url) as client:
            session_id = client.reset().session_id
            with provider.get_tracer("tests").start_as_current_span("agent") as agent:
                client.step(session_id, 1)
            with pytest.raises(sdk.SessionNotFoundError) as raised:
                client.step("nobody", 1)
            assert served.stop(signal.SIGTERM) == 0  # which exports what is left
    provider.shutdown()
    for one in collector.resources:
        assert attributes_of(one.resource)["service.name"] == "dreamserve"
    context = agent.get_span_context()
    trace_id = context.trace_id.to_bytes(16, "big")
    of_agent = {span.name: span for span in collector.spans if span.trace_id == trace_id}
    assert of_agent.keys() == {"POST step", "step"}
    request, step = of_agent["POST step"], of_agent["step"]
    assert request.parent_span_id == context.span_id.to_bytes(8, "big")
    assert step.parent_span_id == request.span_id
    assert request.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano
    assert attributes_of(step)["dreamserve.session_id"] == session_id
    assert attributes_of(step)["dreamserve.world"] == "untrained"
    ids = [attributes_of(span).get("dreamserve.request_id") for span in collector.spans]
    assert raised.value.request_id in ids


def test_nothing_waits_for_a_collector_that_is_silent_or_gone(
    serve, exported_bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with socket.create_server(("127.0.0.1", 0)) as collector:
        url = f"http://127.0.0.1:{collector.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with serve(exported_bundle, *OPTIONS) as served, sdk.DreamClient(served.url) as client:
            session_id = client.reset().session_id
            for step in range(1, 601):
                if step == 300:
                    collector.close()
                began_s = time.monotonic()
                client.step(session_id, 1, step=step)
                assert time.monotonic() - began_s < EXPORT_TIMEOUT_S / 2
            began_s = time.monotonic()
            assert served.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began_s < EXPORT_AT_END_S + EXPORT_TIMEOUT_S / 2
