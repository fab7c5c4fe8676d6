"""What Prometheus reads from a service: requests, calls to others, and for a predictor its batches, queue and model."""

from functools import cache, cached_property

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """The requests of one app; a registry of its own lets several apps live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        requests = Counter("http_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry)
        seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the request's headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        # Looking up a child by its labels costs more than counting, and there are few of them.
        self._requests = cache(requests.labels)
        self._seconds = cache(seconds.labels)

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is the route's template, never what the caller typed."""
        self._requests(method, path, status).inc()
        self._seconds(path).observe(seconds)

    @cached_property
    def backends(self) -> "BackendMetrics":
        """For a service that calls others."""
        return BackendMetrics(self.registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their media type: OpenMetrics, with exemplars, for whoever accepts it, else Prometheus's."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class BackendMetrics:
    """The calls to other services, by the names under which they are known here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls = Counter("backend_calls", "Calls, by how they ended.", ["backend", "outcome"], registry=registry)
        seconds = Histogram(
            "backend_call_duration_seconds",
            "Time of a call, its second try included.",
            ["backend"],
            buckets=SECONDS,
            registry=registry,
        )
        self.retries = Counter("backend_retries", "Second tries.", ["backend"], registry=registry)
        self.breaker = Gauge("backend_breaker_open", "1 while calls are refused.", ["backend"], registry=registry)
        self._calls = cache(calls.labels)
        self._seconds = cache(seconds.labels)

    def call(self, backend: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        self._calls(backend, outcome).inc()
        self._seconds(backend).observe(seconds)


class PredictorMetrics:
    """The batches, the queue and the model of one predictor."""

    def __init__(self, registry: CollectorRegistry, name: str, version: str) -> None:
        self.rows = Histogram("batch_rows", "Rows of one inference.", buckets=ROWS, registry=registry)
        self.run = Histogram("batch_run_seconds", "Duration of one inference.", buckets=SECONDS, registry=registry)
        self.wait = Histogram(
            "queue_wait_seconds", "Wait of a batch's first entry.", buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("queue_rows", "Rows that wait for an inference.", registry=registry)
        model = Gauge("model_info", "The model that is served.", ["name", "version"], registry=registry)
        model.labels(name, version).set(1)

    def batch(self, rows: int, waited: float, ran: float) -> None:
        """Count one inference: its rows, the seconds that its first entry waited, and its own seconds."""
        self.rows.observe(rows)
        self.wait.observe(waited)
        self.run.observe(ran)
