"""All metrics of a server, in one table, and the page on which Prometheus reads them.

A metric is a row of METRICS: what it is, and how it is read from the service when Prometheus asks.
No label has a value that a client can choose: verbs, codes and the loaded worlds are few.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import Scope

from dreamserve import __version__
from dreamserve.api.codec import HEADER_BYTES
from dreamserve.api.responses import BytesResponse, Static
from dreamserve.api.service import Service
from dreamserve.engine.durability.gate import Gate
from dreamserve.engine.histogram import Histogram
from dreamserve.engine.sessions.slab import WorldMeasures
from dreamserve_protocol.verbs import BY_REQUEST

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, Any]]  # values by labels: a number, or a Histogram


@dataclass(frozen=True, slots=True)
class Row:
    """A metric; a counter's name ends in _total."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: Labels
    read: Callable[[Service], Samples]


def _one(read: Callable[[Service], float | Histogram]) -> Callable[[Service], Samples]:
    """Return the reader of a metric without labels."""
    return lambda service: [((), read(service))]


def _by_world(read: Callable[[WorldMeasures], float | Histogram]) -> Callable[[Service], Samples]:
    """Return the reader of a metric by world."""

    def samples(service: Service) -> Samples:
        measures = service.engine.usage.of_worlds
        return [((name,), read(of_world)) for name, of_world in measures.items()]

    return samples


def _of_store(read: Callable[[Gate], Samples]) -> Callable[[Service], Samples]:
    """Return the reader of a metric that only servers with a session store have."""

    def samples(service: Service) -> Samples:
        gate = service.engine.gate
        return () if gate is None else read(gate)

    return samples


def _commits(gate: Gate) -> Samples:
    measures = gate.committer.measures
    return [((result,), getattr(measures, result)) for result in ("confirmed", "refused", "failed")]


def _operations(gate: Gate) -> Samples:
    measures = gate.committer.measures
    operations = {"read": measures.read_s, "take": measures.take_s, "commit": measures.commit_s}
    return [((name,), took_s) for name, took_s in operations.items()]


def _requests(service: Service) -> Samples:
    for kind, latency in service.engine.measures.latency_s.items():
        verb = BY_REQUEST[kind]
        yield (verb.name, "ok", "204" if verb.result is None else "200"), latency.count
    for (name, code, status), count in service.problems.counts.copy().items():
        yield (name, code, str(status)), count


def _worlds(service: Service) -> Samples:
    for name, world in service.engine.worlds.copy().items():
        yield (name, world.version or "", world.backend.name), 1


def _turns(service: Service) -> Samples:
    measures = service.engine.measures
    return [(("batch",), measures.batch_s), (("slice",), measures.slice_s)]


METRICS: tuple[Row, ...] = (
    Row("dreamserve_build_info", "gauge", "Always 1; the versions are labels.",
        ("version", "python"),
        lambda _: [((__version__, platform.python_version()), 1)]),
    Row("dreamserve_world_info", "gauge", "Always 1, for each loaded world.",
        ("world", "version", "backend"), _worlds),
    Row("dreamserve_ready", "gauge", "Whether new sessions are accepted.", (),
        _one(lambda service: service.engine.ready and not service.engine.draining)),
    Row("dreamserve_draining", "gauge", "Whether the server is shutting down.", (),
        _one(lambda service: service.engine.draining)),
    Row("dreamserve_sessions", "gauge", "Live sessions.", ("world",),
        lambda service: [((name,), count) for name, count in service.engine.usage.live.items()]),
    Row("dreamserve_sessions_capacity", "gauge", "Maximum number of live sessions.", (),
        _one(lambda service: service.engine.usage.capacity)),
    Row("dreamserve_sessions_free", "gauge", "Sessions that can still begin.", (),
        _one(lambda service: service.engine.usage.capacity - service.engine.session_count)),
    Row("dreamserve_sessions_memory_bytes", "gauge",
        "Memory for sessions: of `capacity` of them for each world, allocated as it is loaded.", (),
        _one(lambda service: service.engine.usage.memory_bytes)),
    Row("dreamserve_sessions_created_total", "counter", "Sessions that began.", ("world",),
        _by_world(lambda world: world.created)),
    Row("dreamserve_sessions_deleted_total", "counter",
        "Sessions that were deleted, or replaced by another of the same id.", ("world",),
        _by_world(lambda world: world.deleted)),
    Row("dreamserve_sessions_expired_total", "counter", "Sessions that were idle for too long.",
        ("world",), _by_world(lambda world: world.expired)),
    Row("dreamserve_sessions_taken_over_total", "counter",
        "Sessions of the store that this server continued.", ("world",),
        _by_world(lambda world: world.taken_over)),
    Row("dreamserve_sessions_evicted_total", "counter",
        "Idle copies of stored sessions that made room for others here.", ("world",),
        _by_world(lambda world: world.evicted)),
    Row("dreamserve_sessions_lost_total", "counter",
        "Sessions that were given up here, counted when that is noticed: another server had taken"
        " over, or the store had not confirmed a step.", ("world",),
        _by_world(lambda world: world.lost)),
    Row("dreamserve_kept_bytes", "gauge",
        "The most memory that the rewind windows of all sessions can take.", (),
        _one(lambda service: service.engine.usage.kept_bytes)),
    Row("dreamserve_kept_bytes_limit", "gauge", "Its maximum.", (),
        _one(lambda service: service.settings.max_kept_bytes)),
    Row("dreamserve_requests_total", "counter",
        "Requests by verb, on any transport, with the error's code, or ok.",
        ("verb", "code", "status"), _requests),
    Row("dreamserve_row_errors_total", "counter",
        "Failed rows of /step/batch and /reset/batch.", ("verb", "code"),
        lambda service: service.engine.measures.row_errors.copy().items()),
    Row("dreamserve_cancelled_requests_total", "counter",
        "Requests whose caller left before the result.", (),
        _one(lambda service: service.engine.measures.cancelled)),
    Row("dreamserve_request_duration_seconds", "histogram",
        "Time from a request's arrival in the queue to its result, by verb; not of errors.",
        ("verb",),
        lambda service: [
            ((BY_REQUEST[kind].name,), latency)
            for kind, latency in service.engine.measures.latency_s.items()
        ]),
    Row("dreamserve_queue_duration_seconds", "histogram",
        "Time of a request in the queue, until its batch began.", (),
        _one(lambda service: service.engine.measures.queue_s)),
    Row("dreamserve_queue_requests", "gauge", "Requests that wait.", (),
        _one(lambda service: service.engine.usage.waiting)),
    Row("dreamserve_queue_limit", "gauge", "Maximum of waiting requests.", (),
        _one(lambda service: service.settings.max_queue)),
    Row("dreamserve_jobs", "gauge", "Plans, samples, rollouts and batches in progress.", (),
        _one(lambda service: service.engine.usage.jobs)),
    Row("dreamserve_jobs_limit", "gauge", "Their maximum.", (),
        _one(lambda service: service.settings.max_jobs)),
    Row("dreamserve_step_batch_rows", "histogram",
        "Sessions stepped together; the sum is the number of steps.", ("world",),
        _by_world(lambda world: world.step_rows)),
    Row("dreamserve_engine_turn_duration_seconds", "histogram",
        "Time of one batch of requests, or of one slice of long work.", ("kind",), _turns),
    Row("dreamserve_plan_deadline_misses_total", "counter",
        "Plans whose result came later than `budget_ms` after they were queued.", (),
        _one(lambda service: service.engine.measures.missed_deadlines)),
    Row("dreamserve_surprise_nats", "histogram",
        "Surprise of observed steps, per latent dimension.", ("world",),
        _by_world(lambda world: world.surprise)),
    Row("dreamserve_store_up", "gauge",
        "Whether the session store responds and has room; only with a store.", (),
        _of_store(lambda gate: [((), gate.committer.is_up)])),
    Row("dreamserve_store_requests", "gauge", "Requests that wait for the session store.", (),
        _of_store(lambda gate: [((), gate.waiting)])),
    Row("dreamserve_store_operation_duration_seconds", "histogram",
        "Time of an operation of the session store, with all its attempts; not of failed ones.",
        ("operation",), _of_store(_operations)),
    Row("dreamserve_store_errors_total", "counter",
        "Attempts of the session store's operations that failed.", (),
        _of_store(lambda gate: [((), gate.committer.measures.errors)])),
    Row("dreamserve_store_commits_total", "counter",
        "Changes of sessions for the store: confirmed; refused, as another server had taken the"
        " session over; or failed, as the store did not confirm them, or those ahead, in time.",
        ("result",), _of_store(_commits)),
    Row("dreamserve_open_sockets", "gauge", "Open WebSockets.", ("transport",),
        lambda service: [((name,), count) for name, count in service.open_sockets.items()]),
)  # fmt: skip


class ServiceCollector(Collector):
    """Reads METRICS from a service whenever Prometheus asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering reads nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its present values."""
        for row in METRICS:
            yield _family(row, row.read(self._service))


def _family(row: Row, samples: Samples) -> Metric:
    if row.kind == "histogram":
        histograms = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for labels, histogram in samples:
            counts, total = histogram.read()
            bounds = (*map(str, histogram.bounds), "+Inf")
            histograms.add_metric(labels, list(zip(bounds, counts, strict=True)), total)
        return histograms
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(row.name, row.help, labels=row.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def registry_of(service: Service) -> CollectorRegistry:
    """Return a registry of a service's metrics and the process's."""
    registry = CollectorRegistry()  # not prometheus_client's own: two servers may share a process
    registry.register(ServiceCollector(service))
    ProcessCollector(registry=registry)
    return registry


def metrics_endpoint(service: Service) -> Static:
    """Return the application that serves the metrics in the format that Accept selects."""
    registry = registry_of(service)

    def make(scope: Scope) -> BytesResponse:
        accept = scope["state"]["headers"].get(b"accept", b"")[:HEADER_BYTES]
        try:
            encode, media_type = choose_encoder(accept.decode("latin-1"))
        except (TypeError, ValueError):  # a version that is no numbers
            encode, media_type = choose_encoder("")
        return BytesResponse(encode(registry), media_type)

    return Static(make)
