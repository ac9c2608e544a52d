"""A page for Prometheus, for programs that have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .cache_metrics import KVCacheMetrics
from .exporters import KVCacheMetricsExporter


class _ExportOnScrape:
    """Exports when the registry is read; the registry then asks the metrics, which were registered after it."""

    def __init__(self) -> None:
        self.export: Any = None

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        if self.export is not None:
            self.export()
        return iter(())


def registry_of(metrics: KVCacheMetrics, *, prefix: str = "", labels: Mapping[str, str] | None = None) -> Any:
    """A registry of prometheus_client that exports `metrics` whenever it is read."""
    import functools

    import prometheus_client as prometheus

    registry = prometheus.CollectorRegistry()
    on_scrape = _ExportOnScrape()
    registry.register(on_scrape)
    exporter = KVCacheMetricsExporter(
        prefix=prefix,
        labelnames=list(labels or {}),
        counter_cls=functools.partial(prometheus.Counter, registry=registry),
        gauge_cls=functools.partial(prometheus.Gauge, registry=registry),
        histogram_cls=functools.partial(prometheus.Histogram, registry=registry),
    )
    on_scrape.export = lambda: exporter.export(dict(labels or {}), metrics)
    return registry


def start_http_exporter(
    metrics: KVCacheMetrics,
    port: int,
    addr: str = "127.0.0.1",
    *,
    prefix: str = "",
    labels: Mapping[str, str] | None = None,
) -> tuple[Any, Any]:
    """Serves `metrics` at http://addr:port/metrics; needs prometheus-client. Returns its (server, thread): end it with
    `server.shutdown()`.
    """
    import prometheus_client as prometheus

    server, thread = prometheus.start_http_server(
        port, addr, registry=registry_of(metrics, prefix=prefix, labels=labels)
    )
    return server, thread
