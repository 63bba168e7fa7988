"""Whether the audit log and its feeds keep up, as metrics."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.events import AuditFailed, AuditFeedState, AuditWritten
from gateway.ops.meters import Counter


class AuditMeters:
    """Counts what the audit log tells."""

    def __init__(self) -> None:
        self._failures = Counter("gateway_audit_failures", "Writes of the audit log that failed.")
        self._failures.add(by=0)  # a series that is absent cannot rise
        self._height = self._waiting = 0
        self._lags: dict[str, float] = {}

    def __call__(self, event: AuditWritten | AuditFailed | AuditFeedState) -> None:
        """Count an event."""
        match event:
            case AuditWritten():
                self._height, self._waiting = event.height, event.waiting
            case AuditFailed():
                self._failures.add()
            case AuditFeedState():
                self._lags[event.feed] = 0.0 if event.outcome == "complete" else event.lag_seconds

    def families(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield self._failures.family()
        yield GaugeMetricFamily(
            "gateway_audit_chain_height", "Number of this process's last audit record.", value=self._height
        )
        yield GaugeMetricFamily(
            "gateway_audit_queue", "Records that came while the last ones were written.", value=self._waiting
        )
        lags = GaugeMetricFamily(
            "gateway_audit_feed_lag_seconds", "Age of what a failing feed has not brought.", labels=("feed",)
        )
        for feed, seconds in self._lags.items():
            lags.add_metric((feed,), seconds)
        yield lags
