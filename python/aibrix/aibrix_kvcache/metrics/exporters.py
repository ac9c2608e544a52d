"""The exported names.

`{prefix}kv_cache_ol_`: num_ops, num_errors (reason), iteration_prefixes, iteration_tokens, iteration_fetched_tokens,
iteration_op_lat_ms with the labels cache_type and op_type; used and capacity (resource_type), num_tokens_hit and
num_tokens_miss with cache_type. `{prefix}ol_connector_`: num_ops, iteration_prefixes, iteration_tokens,
iteration_sent_tokens, iteration_received_tokens, iteration_op_lat_ms with op_type send or recv.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import Metrics
from .buckets import MS_BUCKETS, TOKEN_BUCKETS
from .cache_metrics import BaseCacheMetrics, ConnectorMetrics, KVCacheMetrics, UsageMetrics
from .exporter_base import BaseMetricsExporter
from .op_metrics import OpMetrics


class OpMetricsExporter(BaseMetricsExporter):
    """Exports OpMetrics; adds the labels op_type and, for errors, reason."""

    OP_TYPE_LABELNAME = "op_type"
    REASON_LABELNAME = "reason"

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        super().__init__(
            prefix=prefix,
            labelnames=[*labelnames, self.OP_TYPE_LABELNAME],
            counter_cls=counter_cls,
            gauge_cls=gauge_cls,
            histogram_cls=histogram_cls,
        )
        self.counter_num_ops = counter_cls(
            name=f"{prefix}num_ops", documentation="Operations.", labelnames=self._labelnames
        )
        self.counter_num_errors = counter_cls(
            name=f"{prefix}num_errors",
            documentation="Operations that failed.",
            labelnames=[*self._labelnames, self.REASON_LABELNAME],
        )
        self.histogram_iteration_prefixes = self._histogram("iteration_prefixes", "Tokens of the prefix.")
        self.histogram_iteration_tokens = self._histogram("iteration_tokens", "Tokens asked about.")
        self.histogram_iteration_fetched_tokens = self._histogram("iteration_fetched_tokens", "Tokens found.")
        self.histogram_iteration_op_lat_ms = self._histogram("iteration_op_lat_ms", "Milliseconds.", MS_BUCKETS)

    def _histogram(self, name: str, documentation: str, buckets: Iterable[float] = TOKEN_BUCKETS) -> Any:
        return self._histogram_cls(
            name=f"{self._prefix}{name}",
            documentation=documentation,
            labelnames=self._labelnames,
            buckets=list(buckets),
        )

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        assert isinstance(metrics, OpMetrics), f"{type(metrics).__name__} is not OpMetrics"
        labels = {**labels, self.OP_TYPE_LABELNAME: metrics.op.name.lower()}
        now, last = self._since_last(labels, metrics)
        self._export_counter(self.counter_num_ops, labels, now.num_ops - (last.num_ops if last else 0))
        before = last.errors if last else {}
        errors = {reason: count - before.get(reason, 0) for reason, count in now.errors.items()}
        self._export_counter_set(self.counter_num_errors, labels, errors, self.REASON_LABELNAME)
        for histogram, name in (
            (self.histogram_iteration_prefixes, "prefixes"),
            (self.histogram_iteration_tokens, "tokens"),
            (self.histogram_iteration_fetched_tokens, "fetched"),
            (self.histogram_iteration_op_lat_ms, "op_lat_ms"),
        ):
            new = getattr(now, name).since(getattr(last, name) if last else None)
            self._export_buckets(histogram, labels, new)


class UsageMetricsExporter(BaseMetricsExporter):
    """Exports UsageMetrics; adds the label resource_type."""

    RESOURCE_TYPE_LABELNAME = "resource_type"

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        super().__init__(
            prefix=prefix,
            labelnames=[*labelnames, self.RESOURCE_TYPE_LABELNAME],
            counter_cls=counter_cls,
            gauge_cls=gauge_cls,
            histogram_cls=histogram_cls,
        )
        self.gauge_used = gauge_cls(name=f"{prefix}used", documentation="Bytes in use.", labelnames=self._labelnames)
        self.gauge_capacity = gauge_cls(
            name=f"{prefix}capacity", documentation="Bytes there are.", labelnames=self._labelnames
        )

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        assert isinstance(metrics, UsageMetrics), f"{type(metrics).__name__} is not UsageMetrics"
        labels = {**labels, self.RESOURCE_TYPE_LABELNAME: metrics.resource.name.lower()}
        self._export_gauge(self.gauge_used, labels, metrics.used_nbytes)
        self._export_gauge(self.gauge_capacity, labels, metrics.capacity_nbytes)


class BaseCacheMetricsExporter(BaseMetricsExporter):
    """Exports BaseCacheMetrics; adds the label cache_type."""

    CACHE_TYPE_LABELNAME = "cache_type"

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        names = [*labelnames, self.CACHE_TYPE_LABELNAME]
        classes = {"counter_cls": counter_cls, "gauge_cls": gauge_cls, "histogram_cls": histogram_cls}
        super().__init__(prefix=prefix, labelnames=names, **classes)
        self._ops = OpMetricsExporter(prefix=prefix, labelnames=names, **classes)
        self._usage = UsageMetricsExporter(prefix=prefix, labelnames=names, **classes)
        self.counter_num_tokens_hit = counter_cls(
            name=f"{prefix}num_tokens_hit", documentation="Tokens found.", labelnames=names
        )
        self.counter_num_tokens_miss = counter_cls(
            name=f"{prefix}num_tokens_miss", documentation="Tokens not found.", labelnames=names
        )

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        assert isinstance(metrics, BaseCacheMetrics), f"{type(metrics).__name__} is not BaseCacheMetrics"
        labels = {**labels, self.CACHE_TYPE_LABELNAME: metrics.cache_type.lower()}
        for op_metrics in metrics.by_op.values():
            now, last = self._since_last(labels, op_metrics)
            hit, miss = (last.tokens_hit, last.tokens_miss) if last else (0, 0)
            self._export_counter(self.counter_num_tokens_hit, labels, now.tokens_hit - hit)
            self._export_counter(self.counter_num_tokens_miss, labels, now.tokens_miss - miss)
            self._ops.export(labels, op_metrics)
        for usage in metrics.usages:
            self._usage.export(labels, usage)


class KVCacheMetricsExporter(BaseCacheMetricsExporter):
    """Exports KVCacheMetrics under `{prefix}kv_cache_ol_`. `export` as often as you like, with or without `reset`."""

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        super().__init__(
            prefix=f"{prefix}kv_cache_ol_",
            labelnames=labelnames,
            counter_cls=counter_cls,
            gauge_cls=gauge_cls,
            histogram_cls=histogram_cls,
        )

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        assert isinstance(metrics, KVCacheMetrics), f"{type(metrics).__name__} is not KVCacheMetrics"
        for cache_metrics in metrics.caches:
            super().export(labels, cache_metrics)


class ConnectorMetricsExporter(BaseMetricsExporter):
    """Exports ConnectorMetrics under `{prefix}ol_connector_`; adds the label op_type, send or recv."""

    OP_TYPE_LABELNAME = "op_type"

    def __init__(
        self, *, prefix: str, labelnames: Iterable[str], counter_cls: Any, gauge_cls: Any, histogram_cls: Any
    ) -> None:
        super().__init__(
            prefix=f"{prefix}ol_connector_",
            labelnames=[*labelnames, self.OP_TYPE_LABELNAME],
            counter_cls=counter_cls,
            gauge_cls=gauge_cls,
            histogram_cls=histogram_cls,
        )
        self.counter_num_ops = counter_cls(
            name=f"{self._prefix}num_ops", documentation="Operations.", labelnames=self._labelnames
        )
        self._histograms = {
            name: histogram_cls(
                name=f"{self._prefix}{name}",
                documentation=documentation,
                labelnames=self._labelnames,
                buckets=list(MS_BUCKETS if name.endswith("_ms") else TOKEN_BUCKETS),
            )
            for name, documentation in (
                ("iteration_prefixes", "Tokens of the prefix."),
                ("iteration_tokens", "Tokens of the operation."),
                ("iteration_sent_tokens", "Tokens sent."),
                ("iteration_received_tokens", "Tokens received."),
                ("iteration_op_lat_ms", "Milliseconds."),
            )
        }

    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        assert isinstance(metrics, ConnectorMetrics), f"{type(metrics).__name__} is not ConnectorMetrics"
        self._export_op({**labels, self.OP_TYPE_LABELNAME: "send"}, metrics.send, "iteration_sent_tokens", "tokens")
        self._export_op(
            {**labels, self.OP_TYPE_LABELNAME: "recv"}, metrics.recv, "iteration_received_tokens", "fetched"
        )

    def _export_op(self, labels: dict[str, str], metrics: OpMetrics, moved: str, moved_from: str) -> None:
        now, last = self._since_last(labels, metrics)
        self._export_counter(self.counter_num_ops, labels, now.num_ops - (last.num_ops if last else 0))
        for name, field in (
            ("iteration_prefixes", "prefixes"),
            ("iteration_tokens", "tokens"),
            (moved, moved_from),
            ("iteration_op_lat_ms", "op_lat_ms"),
        ):
            new = getattr(now, field).since(getattr(last, field) if last else None)
            self._export_buckets(self._histograms[name], labels, new)
