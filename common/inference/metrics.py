"""Prometheus metrics of a predictor: its batches, its queue, its model."""

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info

from common.telemetry.metrics import SECONDS

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class PredictorMetrics:
    """The batches, the queue and the model of one predictor."""

    def __init__(self, registry: CollectorRegistry, name: str, version: str) -> None:
        self.rows = Histogram("batch_rows", "Rows of one inference.", buckets=ROWS, registry=registry)
        self.run = Histogram("batch_run_seconds", "Duration of one inference.", buckets=SECONDS, registry=registry)
        self.wait = Histogram(
            "queue_wait_seconds", "Wait of a batch's first entry.", buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("queue_rows", "Rows that wait for an inference.", registry=registry)
        Info("model", "The model that is served.", registry=registry).info({"name": name, "version": version})

    def record_batch(self, rows: int, waited: float, ran: float) -> None:
        """Count one inference: its rows, the seconds that its first entry waited, and its own seconds."""
        self.rows.observe(rows)
        self.wait.observe(waited)
        self.run.observe(ran)
