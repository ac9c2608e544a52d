"""Each variable that has an effect, by that effect; and what is exported after a known sequence of calls."""

from __future__ import annotations

import functools
import time

import prometheus_client as prometheus
import pytest
import torch
from rig import (
    BLOCK_NBYTES,
    acquired,
    as_hashes,
    as_tokens,
    blocks_of,
    content,
    data_of,
    environment,
    gib,
    manager,
    put_prompt,
    spec_of,
)

from aibrix_kvcache import MemoryRegionKVCacheHandle, TokenListView
from aibrix_kvcache.metrics import KVCacheMetricsExporter

TOKENS = list(range(16))
OTHERS = list(range(100, 116))
ALL = {"L2_CACHE_INGESTION_TYPE": "ALL"}
MOCK = {"L2_CACHE_BACKEND": "MOCK", "DOUBLE_GET_THRESHOLD": "0"}


def slow(delay: str) -> dict[str, object]:
    """A store that takes so long for each call."""
    url = f"mock:?delay={delay}"
    return {"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": url, "MODEL": "m", "DOUBLE_GET_THRESHOLD": "0"}


def stats(cache):
    return cache._tiers.cache.stats()


def found(cache, tokens: list[int]) -> int:
    return cache.exists(*as_tokens(tokens, 0)).get(default=0)


@pytest.mark.parametrize(("asked", "size"), [(512, 512), (50, 48), (10, 16), (16, 16)])
def test_chunk_size(asked, size):
    with manager(CHUNK_SIZE=asked) as cache:
        assert cache.chunk_size == size
        chunks = [len(chunk) for _, chunk, _, _ in cache.cache_chunk_keys(None, TokenListView(range(1024)))]
        assert chunks == [min(size, 1024 - at) for at in range(0, 1024, size)]


def test_block_size():
    """Blocks of the cache of half the engine's: places in the engine's blocks."""
    with environment(BLOCK_SIZE=4):
        spec = spec_of(ntokens=8)
    assert (spec.block_ntokens, spec.engine_block_ntokens) == (4, 8)
    with manager(spec) as cache:
        assert cache.block_size == 4
        engine = [torch.rand(spec.engine_block_shape) for _ in range(2)]
        select = [(0, 0), (0, 4), (1, 0), (1, 4)]  # NCLD: places in the first dimension, which is tokens.
        handle = MemoryRegionKVCacheHandle.create(engine, spec, select)
        assert cache.put(None, TokenListView(TOKENS), handle).get() == 16
        handle = cache.acquire(None, TokenListView(TOKENS)).get()[1]
        assert b"".join(map(data_of, handle.to_tensors())) == b"".join(map(data_of, engine))
        handle.release()


def test_max_seq_len_is_rounded_up_to_blocks():
    with manager(MAX_SEQ_LEN=10) as cache:
        assert put_prompt(cache, TOKENS).get() == 12
        assert found(cache, TOKENS) == 12
    with manager(MAX_SEQ_LEN=0) as cache:
        assert put_prompt(cache, TOKENS).get() == 16


@pytest.mark.parametrize(
    ("threshold", "asked"),
    [("0", True), ("2", True), ("3", False), ("2,0.12", True), ("2,0.5", False), ("4,0.1", False), (None, False)],
)
def test_double_get_threshold(threshold, asked):
    """Two blocks of sixteen are missing in L1."""
    env = {} if threshold is None else {"DOUBLE_GET_THRESHOLD": threshold}
    tokens = list(range(64))
    with manager(L2_CACHE_BACKEND="MOCK", **env) as cache:
        put_prompt(cache, tokens[:56])
        assert found(cache, tokens) == 56
        assert acquired(cache, tokens) == 56
        assert cache.metrics.l2.exists_metrics.num_ops == asked
        assert cache.metrics.l2.acquire_metrics.num_ops == asked
        assert cache.metrics.l1.acquire_metrics.num_ops == 1


def test_per_token_timeout():
    with manager(**slow("20s"), L2_CACHE_PER_TOKEN_TIMEOUT_MS=5) as cache:
        began = time.monotonic()
        assert cache.acquire(*as_tokens(TOKENS, 0)).is_timeout()
        assert cache.exists(*as_tokens(TOKENS, 0)).is_timeout()
        assert time.monotonic() - began < 15
    with manager(**slow("20ms"), L2_CACHE_PER_TOKEN_TIMEOUT_MS=5000) as cache:
        assert cache.acquire(*as_tokens(TOKENS, 0)).is_not_found()


def test_what_l1_has_is_not_lost_with_a_slow_l2():
    env = {"L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 64, "FLUSH_TIMEOUT_S": 0.1}
    with manager(**slow("20s"), **env, L2_CACHE_PER_TOKEN_TIMEOUT_MS=5) as cache:
        put_prompt(cache, TOKENS)
        assert acquired(cache, TOKENS + OTHERS) == 16


@pytest.mark.parametrize(
    ("ingestion", "after_put", "after_read", "after_eviction"),
    [("HOT", 0, 4, 4), ("ALL", 4, 4, 8), ("EVICTED", 0, 0, 4)],
)
def test_ingestion_type(ingestion, after_put, after_read, after_eviction):
    env = {"L2_CACHE_INGESTION_TYPE": ingestion, "L1_CACHE_EVICTION_POLICY": "LRU", "capacity": 4 * BLOCK_NBYTES}
    with manager(**MOCK, **env) as cache:
        for step, expected in (
            (lambda: put_prompt(cache, TOKENS), after_put),
            (lambda: acquired(cache, TOKENS), after_read),
            (lambda: put_prompt(cache, OTHERS), after_eviction),
        ):
            step()
            assert cache.flush().is_ok()
            assert stats(cache).l2.writes == expected
        assert acquired(cache, TOKENS) == 16


def test_writes_are_waited_for_without_inflight_tokens():
    with manager(**MOCK, **ALL) as cache:
        put_prompt(cache, TOKENS)
        assert stats(cache).l2.writes == 4


@pytest.mark.parametrize(("l1", "kept"), [(0, False), (1, True)])
def test_put_with_a_daemon_that_is_away(tmp_path, l1, kept):
    """What nobody has is not said to be kept."""
    away = {"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": f"unix://{tmp_path}/nobody.sock", "MODEL": "m"}
    with manager(L1_CACHE_ENABLED=l1, **away) as cache:
        status = cache.put(None, TokenListView(TOKENS), cache.allocate_for(None, TokenListView(TOKENS)).get())
        assert status.is_ok() if kept else (status.is_error() and "UNAVAILABLE" in status.value), status


def test_inflight_tokens_are_a_bound():
    """A queue of four blocks before a store that takes nothing: the fifth is refused, and nobody waits."""
    env = {"L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 16, "L2_CACHE_OP_BATCH": 1, "FLUSH_TIMEOUT_S": 0.1}
    with manager(**slow("20s"), **env, L1_CACHE_ENABLED=0) as cache:
        stored = sum(put_prompt(cache, [n] * 4).get(default=0) for n in range(20))
        assert 16 <= stored < 80
        assert put_prompt(cache, [99] * 4).is_denied()
        assert stats(cache).ingest_queued_bytes <= 4 * BLOCK_NBYTES


def test_flush_timeout():
    env = {"L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 64, "FLUSH_TIMEOUT_S": 0.1}
    began = time.monotonic()
    with manager(**slow("20s"), **ALL, **env) as cache:
        put_prompt(cache, TOKENS)
        status = cache.flush()
        assert status.is_timeout() and "0.1 s" in status.value
    assert time.monotonic() - began < 15, "close waited for the store"


def test_token_validation_finds_other_tokens():
    """The bytes of block 2 are there under the right key, but its tokens are not those that were asked for."""
    with manager(TOKEN_VALIDATION_ENABLED=1, L2_CACHE_KEY_BUILDER="ROLLING_HASH") as cache:
        put_prompt(cache, TOKENS)
        assert acquired(cache, TOKENS) == 16
        handle = cache.acquire(*as_tokens(TOKENS, 0)).get()[1]
        region = handle.memory_regions[2]
        footer = region.slab[region.addr + BLOCK_NBYTES :]
        assert footer[24:40].view(torch.int32).tolist() == [8, 9, 10, 11]
        footer[28] += 1
        handle.release()
        assert acquired(cache, TOKENS) == 8
        assert acquired(cache, TOKENS, prefix=12) == 4


@pytest.mark.parametrize(
    ("builder", "last"),
    [
        ("ROLLING_HASH", "92031f13820fa442dddcaa5f810f8b7f"),
        ("SIMPLE_HASH", "3dcaef08243641b2e358fcc44723ec3d"),
        ("RAW", "3dcaef08243641b2e358fcc44723ec3d"),
    ],
)
def test_key_builder(builder, last):
    """Golden values of the scheme, for tokens 0 to 63 in blocks of 16."""
    with manager(spec_of(ntokens=16), L2_CACHE_KEY_BUILDER=builder) as cache:
        whole = TokenListView(range(64))
        keys = bytes(cache._chains.blocks(None, whole).keys)
        assert keys[:16].hex() == "cf1cb24e52df6d5af4f404786f434895"
        assert keys[48:].hex() == last
        assert bytes(cache._chains.blocks(whole[:48], whole[48:]).keys) == keys[48:]
        stranger = TokenListView([7, *range(64)])
        assert bytes(cache._chains.blocks(None, stranger[1:]).keys) == keys


def test_l1_capacity():
    with manager(capacity=4 * BLOCK_NBYTES) as cache:
        put_prompt(cache, list(range(64)))
        put_prompt(cache, list(range(100, 164)))
        usage = cache.metrics.l1.eviction_policy_usage_metrics
        assert usage.capacity_nbytes == 4 * BLOCK_NBYTES
        assert 0 < usage.used_nbytes <= 4 * BLOCK_NBYTES
        assert found(cache, list(range(64))) + found(cache, list(range(100, 164))) <= 16


@pytest.mark.parametrize(("policy", "survivor"), [("LRU", 0), ("FIFO", 1)])
def test_l1_policy(policy, survivor):
    """Two blocks of room; the older one is read; a third comes."""
    prompts = [[n] * 4 for n in range(3)]
    with manager(capacity=2 * BLOCK_NBYTES, L1_CACHE_EVICTION_POLICY=policy) as cache:
        put_prompt(cache, prompts[0])
        put_prompt(cache, prompts[1])
        assert acquired(cache, prompts[0]) == 4
        put_prompt(cache, prompts[2])
        assert [found(cache, prompt) > 0 for prompt in prompts] == [survivor == 0, survivor == 1, True]


@pytest.mark.parametrize("policy", ["s3fifo", "Adaptive", "LRU", None])
def test_the_policy_by_name(policy):
    env = {} if policy is None else {"L1_CACHE_EVICTION_POLICY": policy}
    with manager(**env) as cache:
        assert f"L1 {(policy or 's3fifo').lower()} " in repr(cache)


def test_tiers():
    with manager() as cache:
        assert cache.metrics.l1 is not None and cache.metrics.l2 is None
    with manager(L1_CACHE_ENABLED=0, L2_CACHE_BACKEND="mock") as cache:
        assert cache.metrics.l1 is None and cache.metrics.l2 is not None
        put_prompt(cache, TOKENS)
        assert acquired(cache, TOKENS) == 16
        assert stats(cache).l1.blocks == 0 and stats(cache).l2.blocks == 4


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ({}, True),
        ({"L2_CACHE_NAMESPACE": "AiBrix"}, True),
        ({"L2_CACHE_NAMESPACE": "theirs"}, False),
        ({"MODEL": "another"}, False),
        ({"L2_CACHE_KEY_BUILDER": "SIMPLE_HASH"}, False),
        ({"TOKEN_VALIDATION_ENABLED": 1}, False),
        ({"L2_CACHE_NUM_ASYNC_WORKERS": 1}, True),
    ],
)
def test_who_shares_a_directory(tmp_path, other, shared):
    env = {"L2_CACHE_BACKEND": "SHFS", "SHFS_ROOT": tmp_path, "MODEL": "m", "DOUBLE_GET_THRESHOLD": "0", **ALL}
    with manager(**env) as cache:
        put_prompt(cache, TOKENS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    with manager(**{**env, **other}) as cache:
        assert acquired(cache, TOKENS) == (16 if shared else 0)


def test_two_dtypes_of_one_size_do_not_share(tmp_path):
    env = {"L2_CACHE_BACKEND": "SHFS", "SHFS_ROOT": tmp_path, "MODEL": "m", "DOUBLE_GET_THRESHOLD": "0", **ALL}
    with manager(spec_of(dtype=torch.float16), **env) as cache:
        put_prompt(cache, TOKENS)
        assert acquired(cache, TOKENS) == 16
    with manager(spec_of(dtype=torch.bfloat16), **env) as cache:
        assert acquired(cache, TOKENS) == 0


@pytest.mark.parametrize("measured", [0, 1])
def test_time_measurement(measured):
    with manager(TIME_MEASUREMENT_ENABLED=measured) as cache:
        put_prompt(cache, TOKENS)
        text = exported(cache)
        assert value(text, "kv_cache_ol_iteration_op_lat_ms_count", cache_type="cachemgr", op_type="put") == measured
        assert value(text, "kv_cache_ol_num_ops_total", cache_type="cachemgr", op_type="put") == 1


LABELS = {"model_name": "m"}


def exported(cache, times: int = 1) -> str:
    registry = prometheus.CollectorRegistry()
    kinds = {
        name: functools.partial(kind, registry=registry)
        for name, kind in (
            ("counter_cls", prometheus.Counter),
            ("gauge_cls", prometheus.Gauge),
            ("histogram_cls", prometheus.Histogram),
        )
    }
    exporter = KVCacheMetricsExporter(prefix="vllm:", labelnames=list(LABELS), **kinds)
    for _ in range(times):
        exporter.export(dict(LABELS), cache.metrics)
    return prometheus.generate_latest(registry).decode()


def value(text: str, name: str, **labels: str) -> float:
    """One sample of an exporter's text; 0 where there is none."""
    from prometheus_client.parser import text_string_to_metric_families

    wanted = {**LABELS, **labels}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"vllm:{name}" and sample.labels == wanted:
                return sample.value
    return 0


def test_what_is_exported_after_a_known_sequence():
    """L1 has room for four blocks, L2 has all eight: the second half of what is read comes from there."""
    env = {**MOCK, **ALL, "L1_CACHE_EVICTION_POLICY": "LRU", "capacity": 4 * BLOCK_NBYTES}
    tokens = list(range(32))
    with manager(**env) as cache:
        status = cache.allocate_for(None, TokenListView(OTHERS))
        assert cache.put(None, TokenListView(OTHERS), status.get()).is_ok()
        put_prompt(cache, tokens)
        assert found(cache, tokens) == 32
        assert acquired(cache, tokens) == 32
        assert acquired(cache, [-1 & 0xFFFF] * 4) == 0
        assert cache.acquire(*as_tokens(tokens, 3)).is_invalid()
        handle = cache.allocate(8).get()
        fetched = cache.get(None, TokenListView(tokens), handle).get()
        assert fetched == 4 * len(handle)
        in_l1 = cache.metrics.l1.num_tokens_hit
        text = exported(cache, times=2)

    def ops(cache_type: str) -> dict[str, float]:
        names = ("allocate", "put", "exists", "acquire", "get")
        return {
            op: value(text, "kv_cache_ol_num_ops_total", cache_type=cache_type, op_type=op)
            for op in names
        }

    assert ops("cachemgr") == {"allocate": 1, "put": 2, "exists": 1, "acquire": 3, "get": 1}
    errors = functools.partial(value, text, "kv_cache_ol_num_errors_total", cache_type="cachemgr")
    assert errors(op_type="acquire", reason="invalid") == 1
    assert errors(op_type="acquire", reason="not_found") == 0
    assert errors(op_type="exists", reason="not_found") == 0
    acquires = {"cache_type": "cachemgr", "op_type": "acquire"}
    assert value(text, "kv_cache_ol_iteration_tokens_sum", **acquires) == 32 + 4 + 29
    assert value(text, "kv_cache_ol_iteration_fetched_tokens_sum", **acquires) == 32
    assert value(text, "kv_cache_ol_iteration_prefixes_sum", **acquires) == 3
    assert value(text, "kv_cache_ol_iteration_op_lat_ms_count", **acquires) == 3
    hits = {
        kind: value(text, "kv_cache_ol_num_tokens_hit_total", cache_type=kind)
        for kind in ("cachemgr", "l1cache", "l2cache")
    }
    assert hits["cachemgr"] == 32 + fetched
    assert hits["l1cache"] == in_l1 > 0
    assert hits["l2cache"] == hits["cachemgr"] - in_l1 > 0
    in_l1 = value(text, "kv_cache_ol_iteration_fetched_tokens_sum", cache_type="l1cache", op_type="acquire")
    asked = {"cache_type": "l2cache", "op_type": "acquire"}
    assert in_l1 > 0
    assert value(text, "kv_cache_ol_iteration_tokens_sum", **asked) == 32 - in_l1 + 4
    assert value(text, "kv_cache_ol_iteration_prefixes_sum", **asked) == in_l1
    for resource in ("l1_eviction_policy", "l1_allocator"):
        gauge = {"cache_type": "l1cache", "resource_type": resource}
        assert value(text, "kv_cache_ol_capacity", **gauge) == 4 * BLOCK_NBYTES
        assert 0 < value(text, "kv_cache_ol_used", **gauge) <= 4 * BLOCK_NBYTES


def test_hashes_and_tokens_of_one_prompt_are_two_things():
    with manager(L1_CACHE_CAPACITY_GB=gib(1 << 20)) as cache:
        put_prompt(cache, TOKENS)
        assert acquired(cache, TOKENS, form=as_hashes) == 0
        assert acquired(cache, TOKENS) == 16
        assert content(blocks_of(TOKENS)[0]) != content(blocks_of(TOKENS)[1])
