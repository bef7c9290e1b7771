"""OpenTelemetry traces: a span for each HTTP request, and in it one for each verb that it asks for.

Both continue the caller's trace (`traceparent`); on a WebSocket, verbs continue that of its
handshake. Only this module imports OpenTelemetry, and only if `traces` is set. OpenTelemetry's own
variables, OTEL_*, say where the traces go.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from math import inf
from threading import Thread
from typing import Any

from opentelemetry import context, propagate
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api.access.callers import Caller
from dreamserve.api.async_engine import AsyncEngine, Outside
from dreamserve.api.service import Service
from dreamserve.engine.engine import Engine
from dreamserve.engine.scheduling.queued import Future, QueuedRequest
from dreamserve.engine.sessions.keys import id_of
from dreamserve.errors import SettingsError
from dreamserve.settings import otel_variable
from dreamserve_protocol.errors import InternalError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import BY_REQUEST

EXPORT_AT_END_S = 3.0  # for the spans that are left when the server stops
_EXPORTERS = "opentelemetry_traces_exporter"  # the group under which packages declare them
_UNNAMED = "unknown_service"  # the SDK's name for a service without OTEL_SERVICE_NAME


class Provider(TracerProvider):
    """A provider of tracers whose end does not wait long for a collector that is gone."""

    def shutdown(self) -> None:
        """Export what is left, for at most EXPORT_AT_END_S."""
        exporting = Thread(target=super().shutdown, name="dreamserve-traces", daemon=True)
        exporting.start()
        exporting.join(EXPORT_AT_END_S)

    @property
    def tracer(self) -> Tracer:
        """The tracer of the server's own spans."""
        return self.get_tracer("dreamserve", __version__)


def provider_of_environment() -> Provider:
    """Return a provider that exports as the variables OTEL_* say. Raises SettingsError."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: "dreamserve"}))
    resource = resource.merge(Resource({SERVICE_VERSION: __version__}))
    provider = Provider(resource=resource, shutdown_on_exit=False)
    for name in otel_variable("OTEL_TRACES_EXPORTER", "otlp").split(","):
        if (name := name.strip()) != "none":
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


def _exporter(name: str) -> Any:
    if name == "otlp":
        protocol = otel_variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        protocol = otel_variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = [*entry_points(group=_EXPORTERS, name=name)]
    if not found:
        known = ", ".join(sorted({one.name for one in entry_points(group=_EXPORTERS)}))
        raise SettingsError(
            f"OTEL_TRACES_EXPORTER: no exporter {name!r} is installed; installed: {known}"
        )
    return found[0].load()()


def trace(service: Service, tracer: Tracer) -> Callable[..., "Traced"]:
    """Trace the verbs of a service; return what makes an application traced."""
    service.make_engine = partial(TracedEngine, tracer)
    return partial(Traced, tracer)


class Traced:
    """An application whose HTTP requests are spans; `describe` tells what is known of one."""

    def __init__(
        self, tracer: Tracer, app: ASGIApp, describe: Callable[[Scope], dict[str, Any]]
    ) -> None:
        self._tracer, self._app, self._describe = tracer, app, describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as a part of the caller's trace."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = (
            (name.decode("latin-1"), one.decode("latin-1")) for name, one in scope["headers"]
        )
        token = context.attach(propagate.extract(dict(headers)))
        try:
            if scope["type"] == "http":
                await self._serve(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            context.detach(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._tracer.start_as_current_span(scope["method"], kind=SpanKind.SERVER) as span:

            async def send_noting(message: Message) -> None:
                if "status" in message:
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, send_noting)
            known = self._describe(scope)
            span.update_name(f"{scope['method']} {known['verb']}")
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("dreamserve.request_id", known["request_id"])


class TracedEngine(AsyncEngine):
    """An engine whose requests are spans, with their time in the queue and their batch's size."""

    def __init__(self, tracer: Tracer, engine: Engine, outside: Outside) -> None:
        super().__init__(engine, outside)
        self._tracer, self._world_of = tracer, engine.world_of
        engine.observe(self._begin)

    def queue(
        self, request: Request[Any], future: Future, caller: Caller, timeout_s: float = inf
    ) -> None:
        """Queue a request, as a part of the present trace. Raises as `AsyncEngine.queue`."""
        span = self._tracer.start_span(BY_REQUEST[type(request)].name)
        spanned = SpanFuture(future, span)
        try:
            super().queue(request, spanned, caller, timeout_s)
        except Exception as error:
            spanned.end(error)
            raise

    def _begin(self, batch: Sequence[QueuedRequest], began_s: float) -> None:
        """Describe the requests of a batch, in the thread of the engine's turn."""
        for queued in batch:
            if isinstance(queued.future, SpanFuture):
                key, named = queued.key, getattr(queued.request, "world", None)
                world = named or (None if key is None else self._world_of(key))
                known = {
                    "dreamserve.session_id": None if key is None else id_of(key),
                    "dreamserve.world": world,
                    "dreamserve.queue_s": began_s - queued.queued_at_s,
                    "dreamserve.batch_requests": len(batch),
                }
                for name, value in known.items():
                    if value is not None:
                        queued.future.span.set_attribute(name, value)


class SpanFuture:
    """A future that ends a span when it is settled."""

    def __init__(self, future: Future, span: Span) -> None:
        self._future, self.span = future, span

    def cancelled(self) -> bool:
        """Return whether the caller no longer waits."""
        return self._ended_if(self._future.cancelled())

    def done(self) -> bool:
        """Return whether there is an outcome, or the caller no longer waits."""
        return self._ended_if(self._future.done())

    def set_result(self, result: Any) -> None:
        """Take the result."""
        self.end()
        self._future.set_result(result)

    def set_exception(self, exception: Any) -> None:
        """Take the error instead."""
        self.end(exception)
        self._future.set_exception(exception)

    def end(self, error: Exception | None = None) -> None:
        """End the span; an unexpected error is the one that its caller gets for it."""
        if error is not None:
            kind = error if isinstance(error, ProblemError) else InternalError
            self.span.set_attribute("dreamserve.code", kind.code)
            if kind.status >= 500:
                self.span.set_status(StatusCode.ERROR)
        self.span.end()

    def _ended_if(self, gone: bool) -> bool:
        if gone and self.span.is_recording():
            self.span.set_attribute("dreamserve.code", "cancelled")
            self.span.end()
        return gone
