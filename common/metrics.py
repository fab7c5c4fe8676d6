"""What Prometheus reads from a service: requests, latency, and for a predictor its batches, queue and model."""

from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MEDIA_TYPE = CONTENT_TYPE_LATEST


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

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


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
