"""Talking to metric classes of the kind prometheus_client has."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from .base import Metrics, MetricsExporter
from .op_metrics import OpMetrics, OpTotals

_ONE_BY_ONE = 16  # Up to so many equal samples are observed singly.


class BaseMetricsExporter(MetricsExporter):
    """Names, label names and the classes to make metrics with: `counter_cls(name=, documentation=, labelnames=)` and
    likewise `gauge_cls`, and `histogram_cls` with `buckets=`. What they make has `labels(**labels)` with `inc`, `set`,
    `observe`. Not synchronised: one thread exports.
    """

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        self._prefix = prefix
        self._labelnames = list(labelnames)
        self._counter_cls = counter_cls
        self._gauge_cls = gauge_cls
        self._histogram_cls = histogram_cls
        # What was handed over, per labels: so an export adds what is new, whether or not anybody resets.
        self._last: weakref.WeakKeyDictionary[OpMetrics, dict[tuple[tuple[str, str], ...], OpTotals]] = (
            weakref.WeakKeyDictionary()
        )

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        raise NotImplementedError(f"{type(self).__name__}.export")

    def _since_last(self, labels: Mapping[str, str], metrics: OpMetrics) -> tuple[OpTotals, OpTotals | None]:
        """(everything, everything up to the last export with these labels)."""
        key = tuple(sorted(labels.items()))
        totals = metrics.totals()
        by_labels = self._last.setdefault(metrics, {})
        last = by_labels.get(key)
        by_labels[key] = totals
        return totals, last

    @staticmethod
    def _of(metric: Any, labels: Mapping[str, str]) -> Any:
        return metric.labels(**labels) if labels else metric

    def _export_counter(self, counter: Any, labels: Mapping[str, str], data: float) -> None:
        """Adds `data`."""
        if data > 0:  # Some metric classes refuse 0.
            self._of(counter, labels).inc(data)

    def _export_counter_set(
        self, counter: Any, labels: Mapping[str, str], data: Mapping[str, float], set_labelname: str
    ) -> None:
        """Adds each of `data`, its key being the value of the label `set_labelname`."""
        for value, count in data.items():
            self._export_counter(counter, {**labels, set_labelname: value}, count)

    def _export_gauge(self, gauge: Any, labels: Mapping[str, str], data: float) -> None:
        """Sets to `data`."""
        self._of(gauge, labels).set(data)

    def _export_histogram(self, histogram: Any, labels: Mapping[str, str], data: Iterable[float]) -> None:
        """Observes each of `data`."""
        child = self._of(histogram, labels)
        for value in data:
            child.observe(value)

    def _export_buckets(self, histogram: Any, labels: Mapping[str, str], data: Iterable[tuple[float, int]]) -> None:
        """Observes (value, how often) pairs."""
        child = self._of(histogram, labels)
        for value, count in data:
            if count <= _ONE_BY_ONE or not _observe_many(child, value, count):
                for _ in range(count):
                    child.observe(value)


def _observe_many(child: Any, value: float, count: int) -> bool:
    """`count` observations at once, where the class is prometheus_client's; False where it is not.

    A process that is scraped after a long time may have millions of samples.
    """
    names = ("_upper_bounds", "_buckets", "_sum")
    bounds, buckets, total = [getattr(child, name, None) for name in names]
    if not bounds or not buckets or len(bounds) != len(buckets) or total is None or not hasattr(total, "inc"):
        return False
    for bound, bucket in zip(bounds, buckets, strict=True):
        if value <= bound:
            bucket.inc(count)
            break
    total.inc(value * count)
    return True
