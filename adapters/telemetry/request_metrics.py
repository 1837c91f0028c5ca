"""Counts and times of requests, kept in plain numbers: the library's own objects would cost a tenth of an event.

They are written by one event loop, and read at a scrape.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS: Final = (*(str(bound) for bound in _BOUNDS), "+Inf")


class _Ended:
    """How many requests of one kind ended, how long they took together, and how many took how long."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * len(_LABELS)


class RequestMetrics(Collector):
    """Requests by method, route and status, and the seconds that they took."""

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str, int], _Ended] = {}

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered with ``status`` after ``seconds``."""
        kind = (method, route, status)
        known = self._ended.get(kind)
        if known is None:
            known = self._ended[kind] = _Ended()
        known.seconds += seconds
        known.buckets[bisect_left(_BOUNDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        """Return both metrics with their current values."""
        counts = CounterMetricFamily(
            "durabill_requests", "Requests by method, route and status.", labels=("method", "route", "status")
        )
        seconds = HistogramMetricFamily(
            "durabill_request_seconds", "Seconds until a request was answered.", labels=("method", "route")
        )
        by_route: dict[tuple[str, str], list[_Ended]] = {}
        for (method, route, status), ended in list(self._ended.items()):
            counts.add_metric((method, route, str(status)), sum(ended.buckets))
            by_route.setdefault((method, route), []).append(ended)
        for labels, several in by_route.items():
            sums = accumulate(sum(column) for column in zip(*(each.buckets for each in several), strict=True))
            seconds.add_metric(
                labels,
                list(zip(_LABELS, sums, strict=True)),
                sum_value=sum(each.seconds for each in several),
            )
        yield counts
        yield seconds


REQUESTS: Final = RequestMetrics()
"""Those of this process."""
REGISTRY.register(REQUESTS)
