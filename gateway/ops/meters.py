"""Counters and histograms that cost a dictionary look-up; a scrape makes the exposition of them."""

from bisect import bisect_left
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds."""

Labels = tuple[str, ...]


class Counter:
    """Counts by label values, which come from the configuration or from our own code only."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Count."""
        self._values[labels] = self._values.get(labels, 0) + by

    def family(self) -> CounterMetricFamily:
        """Return what a scrape shows."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """Counts durations by label values."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._rows: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, *labels: str, seconds: float) -> None:
        """Count one."""
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = [0] * (len(BUCKETS) + 1)
            self._sums[labels] = 0.0
        row[bisect_left(BUCKETS, seconds)] += 1
        self._sums[labels] += seconds

    def family(self) -> HistogramMetricFamily:
        """Return what a scrape shows."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*map(str, BUCKETS), "+Inf"]
        for labels, row in self._rows.items():
            counts = list(zip(bounds, map(float, accumulate(row)), strict=True))
            family.add_metric(labels, counts, self._sums[labels])
        return family
