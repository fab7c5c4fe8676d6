"""The Prometheus metrics of every service: its requests and its process."""

from collections.abc import Iterator
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.exposition import choose_encoder

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class AppRegistry(CollectorRegistry):
    """The metrics of one app, and those of prometheus-client's default registry: the process, and the user's own.

    Of two with the same name the app's is kept, since Prometheus rejects a page that has a name twice.
    """

    def collect(self) -> Iterator[Metric]:
        """First the app's."""
        own = list(super().collect())
        yield from own
        taken = {name for family in own for name in _names(family)}
        yield from (family for family in REGISTRY.collect() if taken.isdisjoint(_names(family)))


def _names(family: Metric) -> set[str]:
    return {family.name, *[sample.name for sample in family.samples]}


class ServiceMetrics:
    """The requests of one app; a registry of its own lets several apps live in one process."""

    def __init__(self) -> None:
        self.registry = AppRegistry()
        requests = Counter("http_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry)
        seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the request's headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        now = "Requests in flight, over HTTP and gRPC; health checks and metrics do not count."
        self.in_flight = Gauge("requests_in_flight", now, registry=self.registry)
        # Looking up a child by its labels costs more than counting, and there are few of them.
        self._requests = cache(requests.labels)
        self._seconds = cache(seconds.labels)

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is the route's template, never what the caller typed."""
        self._requests(method, path, status).inc()
        self._seconds(path).observe(seconds)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their media type: OpenMetrics (with exemplars) for clients that accept it, else text."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
