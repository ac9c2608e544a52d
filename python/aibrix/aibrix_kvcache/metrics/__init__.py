"""What the caches count, and how it reaches Prometheus.

Recording is cheap and its memory is bounded whether anybody reads or not; the module `exporters` has the names.
"""

from .base import Breakdowns, Metrics, MetricsExporter
from .buckets import MS_BUCKETS, TOKEN_BUCKETS, BucketCounts
from .cache_metrics import (
    BaseCacheMetrics,
    CacheMgrMetrics,
    ConnectorMetrics,
    KVCacheMetrics,
    L1CacheMetrics,
    L2CacheMetrics,
    UsageMetrics,
)
from .exporter_base import BaseMetricsExporter
from .exporters import (
    BaseCacheMetricsExporter,
    ConnectorMetricsExporter,
    KVCacheMetricsExporter,
    OpMetricsExporter,
    UsageMetricsExporter,
)
from .http import start_http_exporter
from .measure import MeasurableBase
from .op_metrics import OpMetrics
from .recorder import MetricRecorder

__all__ = [
    "MS_BUCKETS",
    "TOKEN_BUCKETS",
    "BaseCacheMetrics",
    "BaseCacheMetricsExporter",
    "BaseMetricsExporter",
    "Breakdowns",
    "BucketCounts",
    "CacheMgrMetrics",
    "ConnectorMetrics",
    "ConnectorMetricsExporter",
    "KVCacheMetrics",
    "KVCacheMetricsExporter",
    "L1CacheMetrics",
    "L2CacheMetrics",
    "MeasurableBase",
    "MetricRecorder",
    "Metrics",
    "MetricsExporter",
    "OpMetrics",
    "OpMetricsExporter",
    "UsageMetrics",
    "UsageMetricsExporter",
    "start_http_exporter",
]
