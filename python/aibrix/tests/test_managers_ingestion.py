"""What flows to L2 when one call gives more than its queue holds, and when a call fails half way."""

from __future__ import annotations

import pytest
import torch
from rig import BLOCK_NBYTES, acquired, blocks_of, fill, manager, own_handle, put_prompt

import reprise
from aibrix_kvcache import MemoryRegion, MemoryRegionKVCacheHandle
from aibrix_kvcache.tiers import settings

POLICY = "aibrix_kvcache.l1.eviction_policy:FIFO"
PROMPT = list(range(4 * 40))
MOCK = {"L2_CACHE_BACKEND": "MOCK", "L2_CACHE_INGESTION_TYPE": "ALL", "DOUBLE_GET_THRESHOLD": "0"}


@pytest.fixture
def short_queue(monkeypatch):
    """Six blocks, with what the cache needs for itself."""
    monkeypatch.setattr(settings, "queue_bytes", lambda config: 6 * BLOCK_NBYTES)


@pytest.mark.parametrize("tiers", [{}, {"L1_CACHE_ENABLED": 0}], ids=["both", "l2"])
@pytest.mark.parametrize("validation", [0, 1])
def test_a_put_longer_than_the_queue_reaches_l2(short_queue, tiers, validation):
    with manager(**MOCK, **tiers, TOKEN_VALIDATION_ENABLED=validation) as cache:
        assert put_prompt(cache, PROMPT).get() == len(PROMPT)
        stats = cache._tiers.cache.stats()
        assert stats.ingest_dropped == 0
        assert stats.l2.blocks == 40


def test_a_filled_handle_longer_than_the_queue_reaches_l2(short_queue):
    with manager(**MOCK) as cache:
        handle = cache.allocate_for(None, PROMPT).get()
        fill(handle.to_tensors(), blocks_of(PROMPT))
        assert cache.put(None, PROMPT, handle).get() == len(PROMPT)
        stats = cache._tiers.cache.stats()
        assert stats.ingest_dropped == 0
        assert stats.l2.blocks == 40
        assert acquired(cache, PROMPT) == len(PROMPT)


def test_asynchronous_writes_beyond_the_queue_are_dropped_and_not_waited_for(short_queue):
    with manager(**MOCK, L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS=4) as cache:
        assert put_prompt(cache, PROMPT).get() == len(PROMPT)


def test_a_policy_in_python_keeps_nothing_when_l2_fails(monkeypatch):
    with manager(**MOCK, L1_CACHE_EVICTION_POLICY=POLICY) as cache:
        assert put_prompt(cache, PROMPT[:16]).is_ok()

        def fail(blocks, timeout):
            raise reprise.IoError("gone")

        monkeypatch.setattr(cache._tiers._l2, "acquire", fail)
        assert cache.acquire(None, PROMPT).is_error()
        assert all(region.ref_count == 1 for region in cache._tiers._l1.eviction_policy.values())


def test_a_policy_in_python_keeps_nothing_when_a_copy_fails():
    with manager(L1_CACHE_EVICTION_POLICY=POLICY) as cache:
        assert put_prompt(cache, PROMPT[:16]).is_ok()
        spec = cache.block_spec
        short = MemoryRegion(torch.zeros(spec.block_nbytes, dtype=torch.uint8), 0, spec.block_nbytes // 2)
        handle = MemoryRegionKVCacheHandle(spec.block_dtype, spec.block_shape, [short])
        assert not cache.get(None, PROMPT[:16], handle).is_ok()
        assert all(region.ref_count == 1 for region in cache._tiers._l1.eviction_policy.values())
        _, acquired_handle = cache.acquire(None, PROMPT[:16]).get()
        assert cache.get(None, PROMPT[:16], acquired_handle).is_invalid()
        acquired_handle.release()
        _, own = own_handle(cache.block_spec, 4)
        assert cache.get(None, PROMPT[:16], own).get() == 16
