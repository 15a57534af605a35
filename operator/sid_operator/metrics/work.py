"""Counters of the operator's own work.

Rules this module keeps:

* Names follow Prometheus' conventions: base units, ``_total`` for counters, one prefix.
* Labels have few values, whatever users do: kinds, verbs, codes and results, never names.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "sid_operator"
PASS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0)
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


class WorkMetrics:
    """The counters, in a registry of their own, which is what is served."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._passes = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "Time of a pass over one resource, by result: done, conflict, refused (the status), "
            "error or bug.",
            ["result"],
            buckets=PASS_SECONDS,
            registry=self.registry,
        )
        self._requests = Histogram(
            f"{PREFIX}_api_request_seconds",
            "Time of a request to the API server but watches, by its kind, verb and answer.",
            ["resource", "verb", "code"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._watches = Counter(
            f"{PREFIX}_watch_failures_total",
            "Watches that broke off or fell silent.",
            ["resource"],
            registry=self.registry,
        )
        self._leading = Gauge(
            f"{PREFIX}_leading",
            "1 while this process acts, 0 while it stands by.",
            registry=self.registry,
        )
        self._depth = Gauge(
            f"{PREFIX}_queue_depth",
            "Resources that wait for a pass or are in one.",
            registry=self.registry,
        )

    def passed(self, result: str, seconds: float) -> None:
        """A pass over a resource ended."""
        self._passes.labels(result).observe(seconds)

    def requested(self, resource: str, verb: str, code: str, seconds: float) -> None:
        """A request to the API server was answered, or not (code "none")."""
        self._requests.labels(resource, verb, code).observe(seconds)

    def watch_failed(self, resource: str) -> None:
        """A watch broke off."""
        self._watches.labels(resource).inc()

    def leading(self, *, acts: bool) -> None:
        """This process acts, or stands by."""
        self._leading.set(int(acts))

    def follow_queue(self, length: Callable[[], int]) -> None:
        """Read the queue's length whenever it is asked for."""
        self._depth.set_function(length)
