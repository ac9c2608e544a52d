"""Handles that are used in ways they are not meant for: a status, and never wrong bytes or lost memory."""

from __future__ import annotations

import pytest
import torch
from rig import (
    BLOCK_NBYTES,
    acquired,
    blocks_of,
    check_handle,
    content,
    data_of,
    environment,
    fill,
    manager,
    own_handle,
    put_prompt,
    spec_of,
)

from aibrix_kvcache import (
    BaseKVCacheManager,
    BlockHashes,
    GDRKVCacheHandle,
    KVCacheConfig,
    KVCacheMetrics,
    MemoryRegionKVCacheHandle,
    Status,
    TokenListView,
)
from aibrix_kvcache.metrics import MetricRecorder
from aibrix_kvcache.observation import observe
from aibrix_kvcache.tiers import Answer, settings
from reprise import Reason

ONE = list(range(1000, 1016))
OTHER = list(range(2000, 2016))


def counted_handle(spec, count: int = 1):
    """A handle over an engine's memory, and the list its releases go into."""
    gone: list[int] = []
    tensors = [torch.zeros(spec.block_shape, dtype=spec.block_dtype) for _ in range(count)]
    select = [(i, 0) for i in range(count)]
    return MemoryRegionKVCacheHandle.create(tensors, spec, select, lambda slab, addr, length: gone.append(addr)), gone


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_handle_that_has_ended_is_not_read_by_put(handed_over):
    with manager() as cache:
        names = blocks_of(ONE)
        tensors, handle = own_handle(cache.block_spec, len(names), names)
        if handed_over:
            assert cache.put(None, ONE, handle).is_ok()
        else:
            handle.release()
        for tensor in tensors:
            tensor.zero_()
        assert cache.put(None, OTHER, handle).is_invalid()
        assert cache.exists(None, OTHER).is_not_found()


def test_reserved_memory_that_was_given_back_is_neither_read_nor_written():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()
        handle = cache.allocate_for(None, OTHER).get()
        handle.release()
        assert cache.put(None, list(range(3000, 3016)), handle).is_invalid()
        assert cache.get(None, ONE, handle).is_invalid()
        with pytest.raises(ValueError, match="released"):
            handle.memory_regions  # noqa: B018
        with pytest.raises(ValueError, match="released"):
            handle.to_tensors()


def test_get_does_not_write_into_what_acquire_answered():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok() and put_prompt(cache, OTHER).is_ok()
        _, handle = cache.acquire(None, OTHER).get()
        status = cache.get(None, ONE, handle)
        assert status.is_invalid() and "acquire" in str(status)
        handle.release()
        assert acquired(cache, OTHER) == len(OTHER)


def test_a_reservation_put_for_other_keys_that_overlap_is_stored():
    with manager() as cache:
        whole = TokenListView(ONE)
        handle = cache.allocate_for(None, whole).get()
        names = blocks_of(ONE, 4)
        fill(handle.to_tensors()[: len(names)], names)
        status = cache.put(whole[:4], whole[4:], handle)
        assert status.get() == len(ONE) - 4
        assert acquired(cache, ONE, 4) == len(ONE) - 4
        assert cache.exists(None, whole[:4]).is_not_found()
        assert put_prompt(cache, ONE[:4]).is_ok() and acquired(cache, ONE) == len(ONE)


def test_an_acquired_handle_can_be_put_for_other_keys():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()
        _, handle = cache.acquire(None, ONE).get()
        assert cache.put(None, OTHER, handle).get() == len(OTHER)
        assert handle.released
        assert acquired(cache, ONE) == len(ONE)
        tensors, room = own_handle(cache.block_spec, 4)
        assert cache.get(None, OTHER, room).get() == len(OTHER)
        assert [data_of(tensor) for tensor in tensors] == [content(name) for name in blocks_of(ONE)]


def test_put_releases_its_handle_when_block_hashes_do_not_fit():
    with manager() as cache:
        handle, gone = counted_handle(cache.block_spec)
        with pytest.raises(AssertionError, match="do not make up"):
            cache.put(None, BlockHashes(["a", "b"], 3), handle)
        assert gone == [0]


@pytest.mark.parametrize("policy", ["S3FIFO", "aibrix_kvcache.l1.eviction_policy:FIFO"])
def test_put_releases_a_handle_of_the_wrong_size(policy):
    with manager(L1_CACHE_EVICTION_POLICY=policy) as cache:
        handle, gone = counted_handle(spec_of(ntokens=8))
        handle._block_shape = cache.block_spec.block_shape
        status = cache.put(None, ONE, handle)
        assert status.is_invalid() and "1024 bytes" in str(status)
        assert gone == [0] and handle.released


def test_what_a_truncated_handle_gave_back_can_be_used():
    with manager(capacity=6 * BLOCK_NBYTES) as cache:
        prompt = list(range(24))
        assert put_prompt(cache, prompt).is_ok()
        _, handle = cache.acquire(None, prompt).get()
        handle.truncate(1)
        later = list(range(9000, 9020))
        assert put_prompt(cache, later).get() == len(later)
        assert acquired(cache, later) == len(later)
        check_handle(handle, blocks_of(prompt[:4]))
        handle.release()
        assert cache._tiers.cache.stats().leases == 0


def test_truncating_after_regions_were_made_keeps_what_is_held():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()
        _, handle = cache.acquire(None, ONE).get()
        regions = list(handle.memory_regions)
        regions[3].ref_up()
        handle.truncate(2)
        handle.truncate(1)
        assert regions[3].tobytes() == content(tuple(ONE))
        handle.release()
        assert cache._tiers.cache.stats().leases == 1
        regions[3].ref_down()
        assert cache._tiers.cache.stats().leases == 0


def test_tensors_that_are_not_contiguous_are_refused():
    spec = spec_of()
    strided = torch.zeros((8, *spec.block_shape[1:]))[::2]
    with pytest.raises(ValueError, match="tensor 0 .* not contiguous"):
        MemoryRegionKVCacheHandle.create([strided], spec, [(0, 0)])
    layered = spec_of("LCND")
    layers = [torch.zeros(4, 2, 4, 2, 4).transpose(0, 1) for _ in range(2)]
    with pytest.raises(ValueError, match="tensor 0 .* not contiguous"):
        GDRKVCacheHandle.create(layers, layered, torch.arange(4))


def test_a_closed_manager_answers_and_its_handles_stay_readable():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()
        _, handle = cache.acquire(None, ONE).get()
        reserved = cache.allocate_for(None, OTHER).get()
        cache.close()
        check_handle(handle, blocks_of(ONE))
        handle.release()
        reserved.release()
        for call in (cache.exists, cache.acquire, cache.allocate_for, cache.delete):
            assert call(None, ONE).is_invalid()
        tensors, room = own_handle(cache.block_spec, 4)
        assert cache.get(None, ONE, room).is_invalid()
        gone = counted_handle(cache.block_spec)
        assert cache.put(None, ONE, gone[0]).is_invalid() and gone[1] == [0]
        assert "0 of" in cache.metrics.summary()
        assert cache.metrics.l1.eviction_policy_usage_metrics.used_nbytes == 0
        cache.prefetch(None, ONE)
        cache.close()


def test_get_refuses_blocks_of_another_dtype_or_shape():
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()
        for other in (spec_of(dtype=torch.int32), spec_of("LCND")):
            _, room = own_handle(other, 4)
            status = cache.get(None, ONE, room)
            assert status.is_invalid() and "cache's" in str(status)
        _, room = own_handle(cache.block_spec, 4)
        assert cache.get(None, ONE, room).get() == len(ONE)


def test_memory_is_not_page_locked(monkeypatch):
    """The arena is several times as large as the cache: registering it would give all of it pages."""

    def refuse():
        raise AssertionError("CUDA was asked")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", refuse)
    with manager() as cache:
        assert put_prompt(cache, ONE).is_ok()


def test_a_handle_stays_valid_while_the_process_stands_still():
    """Leases are renewed by a thread of the process: their time to live is how long it may be stopped."""
    with manager() as cache:
        assert settings.core_options(cache.config, 1, "lru", "")["lease_ttl"] >= 3600


def test_the_url_of_a_configuration_is_what_lies_behind_memory():
    with environment(L2_CACHE_BACKEND="SHFS", L1_CACHE_CAPACITY_GB="0.001"):
        for url, has_l2 in (("mock:", True), ("", False)):
            cache = BaseKVCacheManager(KVCacheConfig(spec_of(), url=url))
            try:
                assert cache._tiers.has_l2 is has_l2
            finally:
                cache.close()


def test_what_was_found_is_counted_in_one_tier():
    """A group may agree on less than this rank's tiers had."""
    metrics = KVCacheMetrics(block_ntokens=4, capacity_nbytes=0, enable_l1=True, enable_l2=True)
    answer = Answer(4, from_l1=3, from_l2=5, reason=Reason.MISS, asked_l2=True)
    observe(metrics, MetricRecorder.OP.ACQUIRE, None, TokenListView(range(40)), 0.0, Status.ok(16), answer, 4)
    assert metrics.mgr.num_tokens_hit == 16
    assert metrics.l1.num_tokens_hit + metrics.l2.num_tokens_hit == 16
