"""What is counted, and what prometheus_client makes of it."""

import functools
import sys
import threading
import urllib.request

import numpy as np
import prometheus_client as prometheus
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aibrix_kvcache.metrics import (
    MS_BUCKETS,
    TOKEN_BUCKETS,
    BucketCounts,
    ConnectorMetrics,
    ConnectorMetricsExporter,
    KVCacheMetrics,
    KVCacheMetricsExporter,
    MeasurableBase,
    MetricRecorder,
    start_http_exporter,
)
from aibrix_kvcache.status import Status, StatusCodes

OP = MetricRecorder.OP
LABELS = {"model_name": "m"}


def new_metrics(**more):
    args = dict(block_ntokens=16, capacity_nbytes=1000, enable_l1=True, enable_l2=True)
    return KVCacheMetrics(**{**args, **more})


class Exported:
    """An exporter into a registry of its own; figures by name and labels."""

    def __init__(self, kind=KVCacheMetricsExporter):
        self.registry = prometheus.CollectorRegistry()
        in_registry = {
            name: functools.partial(cls, registry=self.registry)
            for name, cls in (
                ("counter_cls", prometheus.Counter),
                ("gauge_cls", prometheus.Gauge),
                ("histogram_cls", prometheus.Histogram),
            )
        }
        self.exporter = kind(prefix="vllm:", labelnames=list(LABELS), **in_registry)

    def export(self, metrics):
        self.exporter.export(dict(LABELS), metrics)

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"vllm:{name}", {**LABELS, **labels})

    def text(self):
        return prometheus.generate_latest(self.registry).decode()


def test_buckets_keep_the_originals_bounds():
    original_tokens = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8096]
    original_ms = [1, 2, 3, 5, 8, 10, 20, 30, 50, 80, 100, 200, 300, 500, 800, 1000, 2000, 3000]
    assert set(original_tokens) <= set(TOKEN_BUCKETS) and 8192 in TOKEN_BUCKETS
    assert set(original_ms) <= set(MS_BUCKETS) and min(MS_BUCKETS) < 0.1
    for bounds in (TOKEN_BUCKETS, MS_BUCKETS):
        assert bounds == sorted(set(bounds))


def test_names_labels_and_types():
    metrics, out = new_metrics(), Exported()
    for recorder in metrics.caches:
        for op in OP:
            recorder.record(op, prefix_tokens=16, tokens=64, fetched_tokens=32, seconds=0.004)
            recorder.record(op, prefix_tokens=16, tokens=64, seconds=0.004, code=StatusCodes.TIMEOUT)
    out.export(metrics)
    families = {family.name: family for family in text_string_to_metric_families(out.text())}
    families = {name: family for name, family in families.items() if not name.endswith("_created")}
    of_op = {"model_name", "cache_type", "op_type"}
    expected = {
        "num_ops": ("counter", of_op),
        "num_errors": ("counter", of_op | {"reason"}),
        "iteration_prefixes": ("histogram", of_op),
        "iteration_tokens": ("histogram", of_op),
        "iteration_fetched_tokens": ("histogram", of_op),
        "iteration_op_lat_ms": ("histogram", of_op),
        "used": ("gauge", {"model_name", "cache_type", "resource_type"}),
        "capacity": ("gauge", {"model_name", "cache_type", "resource_type"}),
        "num_tokens_hit": ("counter", {"model_name", "cache_type"}),
        "num_tokens_miss": ("counter", {"model_name", "cache_type"}),
    }
    assert {name.removeprefix("vllm:kv_cache_ol_") for name in families} == set(expected)
    for name, (kind, labels) in expected.items():
        family = families[f"vllm:kv_cache_ol_{name}"]
        assert family.type == kind
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == labels, name
    samples = families["vllm:kv_cache_ol_num_ops"].samples
    assert {sample.labels["cache_type"] for sample in samples} == {"l1cache", "l2cache", "cachemgr"}
    assert {sample.labels["op_type"] for sample in samples} == {"put", "get", "acquire", "allocate", "exists"}
    usage = families["vllm:kv_cache_ol_used"].samples
    assert {sample.labels["resource_type"] for sample in usage} == {"l1_eviction_policy", "l1_allocator"}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("times", [1, 40])
def test_exports_add_up_with_and_without_reset(reset, times):
    metrics, out = new_metrics(), Exported()
    rounds = 3
    for _ in range(rounds):
        for _ in range(times):
            metrics.mgr.record(OP.ACQUIRE, prefix_tokens=16, tokens=64, fetched_tokens=48, seconds=0.0003)
            metrics.mgr.record(OP.ACQUIRE, prefix_tokens=16, tokens=64, seconds=0.004, code=StatusCodes.NOT_FOUND)
            metrics.mgr.record(OP.PUT, tokens=64, seconds=0.004, code=StatusCodes.DENIED)
        out.export(metrics)
        if reset:
            metrics.reset()
    out.export(metrics)
    total = rounds * times
    acquire = dict(cache_type="cachemgr", op_type="acquire")
    assert out.value("kv_cache_ol_num_ops_total", **acquire) == 2 * total
    assert out.value("kv_cache_ol_num_errors_total", **acquire, reason="not_found") is None
    put = dict(cache_type="cachemgr", op_type="put", reason="denied")
    assert out.value("kv_cache_ol_num_errors_total", **put) == total
    assert out.value("kv_cache_ol_num_tokens_hit_total", cache_type="cachemgr") == 48 * total
    assert out.value("kv_cache_ol_num_tokens_miss_total", cache_type="cachemgr") == (64 + 16) * total
    assert out.value("kv_cache_ol_iteration_op_lat_ms_count", **acquire) == 2 * total
    assert out.value("kv_cache_ol_iteration_op_lat_ms_sum", **acquire) == pytest.approx(4.3 * total)
    for le, count in (("0.2", 0), ("0.5", total), ("3.0", total), ("5.0", 2 * total), ("+Inf", 2 * total)):
        assert out.value("kv_cache_ol_iteration_op_lat_ms_bucket", **acquire, le=le) == count
    assert out.value("kv_cache_ol_iteration_fetched_tokens_count", **acquire) == total
    assert out.value("kv_cache_ol_iteration_tokens_bucket", **acquire, le="64.0") == 2 * total
    assert out.value("kv_cache_ol_iteration_tokens_bucket", **acquire, le="32.0") == 0


def test_two_exporters_both_get_everything():
    metrics, one, other = new_metrics(), Exported(), Exported()
    metrics.mgr.record(OP.GET, tokens=16)
    one.export(metrics)
    metrics.mgr.record(OP.GET, tokens=16)
    for out in (one, other):
        out.export(metrics)
        assert out.value("kv_cache_ol_num_ops_total", cache_type="cachemgr", op_type="get") == 2


def test_gauges_are_asked_at_export():
    metrics, out, used = new_metrics(), Exported(), [5]
    metrics.l1.allocator_usage_metrics.used = lambda: used[0]
    metrics.l1.trace_usage(MetricRecorder.Resource.L1_EVICTION_POLICY, 77)
    out.export(metrics)
    used[0] = 9
    out.export(metrics)
    allocator = dict(cache_type="l1cache", resource_type="l1_allocator")
    assert out.value("kv_cache_ol_used", **allocator) == 9 and out.value("kv_cache_ol_capacity", **allocator) == 1000
    assert out.value("kv_cache_ol_used", cache_type="l1cache", resource_type="l1_eviction_policy") == 77


def test_the_connector_has_names_of_its_own():
    metrics, out = ConnectorMetrics(), Exported(ConnectorMetricsExporter)
    metrics.send.record(16, 64, 0, 0.001, StatusCodes.OK)
    metrics.recv.record(0, 64, 48, 0.001, StatusCodes.OK)
    out.export(metrics)
    out.export(metrics)
    assert out.value("ol_connector_num_ops_total", op_type="send") == 1
    assert out.value("ol_connector_iteration_sent_tokens_sum", op_type="send") == 64
    assert out.value("ol_connector_iteration_received_tokens_sum", op_type="recv") == 48
    assert out.value("ol_connector_iteration_prefixes_sum", op_type="send") == 16
    assert out.value("ol_connector_iteration_op_lat_ms_count", op_type="recv") == 1


def test_the_originals_form_of_record():
    metrics = new_metrics()
    metrics.l1.record(OP.ACQUIRE, 32, 64, Status.ok(2), 5)
    metrics.l1.record(OP.ACQUIRE, 32, 64, Status.ok(["region"] * 3), 5)
    metrics.l1.record(OP.ACQUIRE, 32, 64, Status.error(StatusCodes.TIMEOUT), 5)
    metrics.l1.record(OP.ACQUIRE, 32, 64, Status.error(StatusCodes.NOT_FOUND), 5)
    metrics.mgr.record(OP.ACQUIRE, 32, 64, Status.ok((48, object())), 5)
    acquire = metrics.l1.acquire_metrics
    assert (acquire.num_ops, acquire.num_errors, acquire.num_errors_by_reason) == (4, 1, {"timeout": 1})
    assert acquire.num_prefixes == [32] * 4 and acquire.num_tokens == [64] * 4
    assert acquire.num_fetched_tokens == [32, 48] and acquire.op_lat_ms == [5] * 4
    assert (metrics.l1.num_tokens_hit, metrics.l1.num_tokens_miss) == (80, 176)
    assert metrics.mgr.num_tokens_hit == 48
    assert "timeout" in metrics.summary() and "48" in metrics.summary()
    metrics.reset()
    assert acquire.num_prefixes == [] and acquire.num_errors_by_reason == {}
    assert (acquire.num_ops, acquire.num_errors, metrics.l1.num_tokens_hit) == (4, 1, 80)


def test_memory_is_bounded_when_nobody_reads():
    metrics = new_metrics()
    for number in range(20_000):
        metrics.mgr.record(OP.ACQUIRE, tokens=number, seconds=number / 1000)
    acquire = metrics.mgr.acquire_metrics
    assert acquire.num_ops == 20_000 and len(acquire.num_tokens) < 2000 and acquire.num_tokens[-1] == 19_999
    held = sum(sys.getsizeof(value) for value in vars(acquire).values())
    assert held < 100_000


def test_no_time_measurement():
    metrics, out = new_metrics(enable_time_measurement=False), Exported()
    metrics.mgr.record(OP.GET, tokens=16, seconds=1)
    out.export(metrics)
    assert metrics.mgr.get_metrics.op_lat_ms == []
    assert out.value("kv_cache_ol_iteration_op_lat_ms_count", cache_type="cachemgr", op_type="get") == 0
    assert out.value("kv_cache_ol_iteration_tokens_count", cache_type="cachemgr", op_type="get") == 1


def test_a_mean_stays_in_its_bucket():
    counts = BucketCounts([0.1, 0.2])
    counts.add(np.array([0.1] * 3))  # Three times 0.1 is more than 0.3 in binary.
    assert list(counts.since(None)) == [(0.1, 3)]
    earlier = counts.copy()
    counts.add(np.array([9.0]))
    assert list(counts.since(earlier)) == [(9, 1)]


def test_metric_classes_that_only_observe():
    class Plain:
        def __init__(self, name, documentation, labelnames, buckets=None):
            self.seen = []

        def labels(self, **labels):
            return self

        def observe(self, value):
            self.seen.append(value)

        inc = set = observe

    metrics = new_metrics(enable_l1=False, enable_l2=False)
    for _ in range(50):
        metrics.mgr.record(OP.GET, tokens=24)
    exporter = KVCacheMetricsExporter(prefix="", labelnames=[], counter_cls=Plain, gauge_cls=Plain, histogram_cls=Plain)
    exporter.export({}, metrics)
    assert exporter._ops.histogram_iteration_tokens.seen == [24] * 50


def test_threads_lose_nothing():
    metrics = new_metrics()

    def work():
        for _ in range(2000):
            metrics.mgr.record(OP.GET, tokens=2, fetched_tokens=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert metrics.mgr.get_metrics.num_ops == 8000
    assert metrics.mgr.get_metrics.totals().tokens.count == 8000
    assert (metrics.mgr.num_tokens_hit, metrics.mgr.num_tokens_miss) == (8000, 8000)


def test_http():
    metrics = new_metrics()
    server, thread = start_http_exporter(metrics, 0, prefix="p:", labels={"rank": "3"})
    try:
        for expected in ("1.0", "2.0"):
            metrics.mgr.record(OP.GET, tokens=16)
            url = f"http://127.0.0.1:{server.server_port}/metrics"
            text = urllib.request.urlopen(url, timeout=30).read().decode()
            line = 'p:kv_cache_ol_num_ops_total{cache_type="cachemgr",op_type="get",rank="3"} ' + expected
            assert line in text.splitlines()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


def test_measured_methods():
    import asyncio

    class Cache(MeasurableBase):
        @MeasurableBase.measure(OP.GET)
        def get(self, prefix, query):
            return Status.ok(1)

        @MeasurableBase.measure(OP.PUT)
        async def put(self, prefix, query, more):
            return Status.error(StatusCodes.TIMEOUT, more)

    metrics = new_metrics()
    cache = Cache(metrics.l1)
    assert cache.get(None, range(32)).is_ok()
    assert asyncio.run(cache.put(range(16), range(32), "x")).value == "x"
    assert Cache(None).get(None, range(3)).is_ok()
    assert metrics.l1.num_tokens_hit == 16 and metrics.l1.put_metrics.num_errors_by_reason == {"timeout": 1}
    assert metrics.l1.put_metrics.num_prefixes == [16] and metrics.l1.put_metrics.op_lat_ms[0] > 0
