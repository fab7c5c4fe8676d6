"""Prometheus metrics of the calls to other services."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from common.telemetry.metrics import SECONDS


class BackendMetrics:
    """The calls of one app to its backends, by backend; create it once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls = Counter("backend_calls", "Calls, by outcome.", ["backend", "outcome"], registry=registry)
        seconds = Histogram(
            "backend_call_duration_seconds",
            "Duration of a call, its retry included.",
            ["backend"],
            buckets=SECONDS,
            registry=registry,
        )
        self.retries = Counter("backend_retries", "Retries.", ["backend"], registry=registry)
        self.breaker = Gauge("backend_breaker_open", "1 while calls are rejected.", ["backend"], registry=registry)
        self._calls = cache(calls.labels)  # finding a child by its labels costs more than counting
        self._seconds = cache(seconds.labels)

    def record_call(self, backend: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        self._calls(backend, outcome).inc()
        self._seconds(backend).observe(seconds)
