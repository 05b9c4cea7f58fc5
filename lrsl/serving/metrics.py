"""What the server counts, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from lrsl.plugin.answers import Answer, Explanation, is_changed

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of a server of its own.

    Args:
        waiting: says how many texts are waiting.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "lrsl_requests", "Requests, by endpoint and HTTP status", ["endpoint", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "lrsl_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Counter("lrsl_rows", "Texts that were answered", registry=self.registry)
        self._hard = Counter("lrsl_hard_rows", "Texts that the classifier hesitated on", registry=self.registry)
        self._changed = Counter("lrsl_changed_answers", "Answers that are not the classifier's", registry=self.registry)
        self._batch = Histogram(
            "lrsl_batch_rows", "Texts that were worked on together", buckets=ROWS, registry=self.registry
        )
        Gauge("lrsl_queue_rows", "Texts that are waiting", registry=self.registry).set_function(waiting)
        ProcessCollector(registry=self.registry)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def batch(self, rows: int) -> None:
        """Count a batch."""
        self._batch.observe(rows)

    def results(self, found: Sequence[Answer | Explanation]) -> None:
        """Count what texts were answered."""
        self._rows.inc(len(found))
        self._hard.inc(sum(one.hard for one in found))
        self._changed.inc(sum(is_changed(one) for one in found))

    def page(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
