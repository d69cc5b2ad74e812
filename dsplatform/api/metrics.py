"""`/metrics`: figures in the text form of Prometheus. Each application counts for itself, in a registry of its own."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dsplatform.api.caller import Caller, Services
from dsplatform.api.limits import Limits
from dsplatform.api.protocol import Cuts
from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.types import PlatformRight

T = TypeVar("T")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
QUEUES_SECONDS, STORE_SECONDS = 10.0, 300.0
"""How old figures of the database may be: queues are short, what is stored is counted row by row."""
CAPTURES_SHOWN = 1_000
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """What the process counts, and what it asks the database when somebody looks. Safe between threads."""

    def __init__(self, limits: Limits, cuts: Cuts) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second figure for each, which says when the process began
        self._registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("dsplatform_http_requests", "Requests that were answered", names, registry=self._registry)
        self._seconds = Histogram(
            "dsplatform_http_request_seconds",
            "Seconds from a request's headers to the end of its answer",
            names[:2],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._legacy = Counter(
            "dsplatform_legacy_requests",
            "Requests for the legacy system's paths, by who sent them",
            ["endpoint", "program"],
            registry=self._registry,
        )
        self._compared = Counter(
            "dsplatform_legacy_comparisons",
            "Answers of the legacy server and ours, by how they compare",
            ["outcome"],
            registry=self._registry,
        )
        self._received = Counter("dsplatform_http_received_bytes", "Bytes of bodies that came in", registry=self._registry)
        self._sent = Counter("dsplatform_http_sent_bytes", "Bytes of bodies that went out", registry=self._registry)
        self._under_way = Gauge("dsplatform_http_requests_under_way", "Requests that are being answered", registry=self._registry)
        self._state = _State(limits, cuts)
        self._registry.register(self._state)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Counts a request as long as it lasts."""
        self._under_way.inc()
        try:
            yield
        finally:
            self._under_way.dec()

    def answered(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Counts an answer. `route` is a template, so that the number of series does not follow what is asked."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def legacy_answered(self, endpoint: str, program: str) -> None:
        """Counts a request for one of the legacy system's paths. There are few names of programs."""
        self._legacy.labels(endpoint, program).inc()

    def legacy_compared(self, outcome: str) -> None:
        """Counts how an answer of the legacy server and ours compare."""
        self._compared.labels(outcome).inc()

    def text(self, platform: Platform) -> bytes:
        """All figures. Where the database does not answer, those of the process."""
        with self._state.lock:
            self._state.platform = platform
            return generate_latest(self._registry)


class _State(Collector):
    """What is so at the moment when somebody looks."""

    def __init__(self, limits: Limits, cuts: Cuts) -> None:
        self.lock = threading.Lock()
        self.platform: Platform | None = None
        self._limits = limits
        self._cuts = cuts
        self._known: dict[str, tuple[float, object]] = {}

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        yield _gauge("dsplatform_uploads_under_way", "Uploads over HTTP that are under way", self._limits.uploads())
        cut = CounterMetricFamily(
            "dsplatform_http_cut_off", "Clients that were cut off or refused before the application", labels=["reason"]
        )
        for reason, count in self._cuts.counts.copy().items():
            cut.add_metric([reason], count)
        yield cut
        if self.platform is None:
            return
        size, used = self.platform.db.pool()
        yield _gauge("dsplatform_database_connections", "Database connections of this process, at most", size)
        yield _gauge("dsplatform_database_connections_used", "Database connections that are in use", used)
        try:
            found = [*self._queues(self.platform), *self._store(self.platform)]
        except Unavailable:
            found = []
        yield _gauge("dsplatform_database_up", "Whether the database answers", bool(found))
        yield from found

    def _queues(self, platform: Platform) -> Iterable[Metric]:
        queues = self._kept("queues", QUEUES_SECONDS, lambda: _queues(platform))
        family = GaugeMetricFamily("dsplatform_queue", "What waits, by queue", labels=["queue"])
        for queue, count in queues.items():
            family.add_metric([queue], count)
        yield family

    def _store(self, platform: Platform) -> Iterable[Metric]:
        store = self._kept("store", STORE_SECONDS, platform.inventory.figures)
        yield _gauge("dsplatform_stored_files", "Contents that are stored, each once", store.files)
        yield _gauge("dsplatform_stored_bytes", "Their bytes", store.stored)
        yield _gauge("dsplatform_damaged_files", "Those of them whose bytes were found damaged or missing", store.damaged)
        yield _gauge("dsplatform_buried_objects", "Objects that wait to be deleted", store.buried_objects)
        yield _gauge("dsplatform_buried_bytes", "Their bytes, as far as they are known", store.buried)

    def _kept(self, name: str, seconds: float, find: Callable[[], T]) -> T:
        found = self._known.get(name)
        if found is None or time.monotonic() - found[0] > seconds:
            found = self._known[name] = (time.monotonic(), find())
        return found[1]  # type: ignore[return-value]  # under one name lies what `find` of that name answers


def _queues(platform: Platform) -> dict[str, int]:
    with platform.db.autocommit() as tx:
        deliveries = platform.outbox.pending(tx)
    return {
        "inbox": platform.ingestion.standing().files,
        "deliveries": deliveries,
        "captures": len(platform.schemas.pending(CAPTURES_SHOWN)),
        "reviews": platform.inventory.reviews(),
    }


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def operator(services: Services, caller: Caller) -> None:
    """Lets only those in whose role may operate the platform."""
    with services.db.autocommit():  # where a refusal is kept
        services.permissions.require_right(caller, PlatformRight.OPERATE)


router = APIRouter(tags=["operation"])


@router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
def metrics(request: Request, services: Services) -> PlainTextResponse:
    """Requests, uploads, queues, what is stored, connections: in the text form of Prometheus. Needs the right `operate`, unless
    `DSPLATFORM_METRICS_PUBLIC` is `on`."""
    counted: Metrics = request.app.state.metrics
    return PlainTextResponse(counted.text(services), media_type="text/plain; version=0.0.4; charset=utf-8")
