"""A Prometheus histogram that takes many values at once.

`prometheus_client.Histogram.observe` takes three locks per value, which costs 5 µs; delivering a
targeted event costs 40 µs in all. A round has all its values together, so it can count them at
once. Only the event loop's thread may write.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BulkHistogram(Collector):
    """Counts values by upper bound.

    Args:
        bounds: upper bounds of the buckets, ascending; ``+Inf`` is added.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = (*map(float, bounds), float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe_all(self, values: Iterable[float]) -> None:
        """Count each value."""
        counts, bounds = self._counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the buckets, for a scrape."""
        labels = [_bound(bound) for bound in self._bounds]
        buckets = list(zip(labels, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=self._sum
        )

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Return the name, so that a registry refuses a second collector with it."""
        return [HistogramMetricFamily(self._name, self._documentation)]


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)
