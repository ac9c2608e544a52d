"""Prompts of several pools: pages that one of them lacks."""

import pytest

pytest.importorskip("sglang")

from sglang.srt.mem_cache.hicache_storage import PoolHitPolicy, PoolName, PoolTransfer

from sglang_pools import indices, mha_pool, mla_pool, page_keys, pages_of, same


def several(backend, pages, policy=PoolHitPolicy.ALL_PAGES, keys=None):
    at = indices(*pages)
    return PoolTransfer(name=PoolName.INDEXER, host_indices=at, keys=keys or page_keys(len(pages)), hit_policy=policy)


@pytest.fixture
def two_pools(open_backend):
    backend = open_backend(mha_pool("page_first"))
    side = mla_pool("layer_first")
    backend.register_mem_host_pool_v2(side, PoolName.INDEXER)
    return backend, side


def test_pages_of_another_pool(two_pools):
    backend, side = two_pools
    assert backend.batch_set_v2([several(backend, [0, 1, 2])]) == {PoolName.INDEXER: [True] * 3}
    read = several(backend, [5, 6, 7, 8])
    assert backend.batch_get_v2([read]) == {PoolName.INDEXER: [True, True, True, False]}
    assert same(pages_of(side, indices(5, 6, 7)), pages_of(side, indices(0, 1, 2)))


def test_what_one_of_the_pools_lacks_cannot_be_used(two_pools):
    backend, _ = two_pools
    keys = page_keys(6)
    backend.batch_set_v1(keys[:5], indices(*range(5)))
    backend.batch_set_v2([several(backend, [0, 1], keys=keys[:2]), several(backend, [3, 4], keys=keys[3:5])])

    alone = backend.batch_exists_v2(keys, None)
    every = backend.batch_exists_v2(keys, [several(backend, [0])])
    trailing = backend.batch_exists_v2(keys, [several(backend, [0], PoolHitPolicy.TRAILING_PAGES, keys[:1])])

    assert (alone.kv_hit_pages, alone.extra_pool_hit_pages) == (5, {PoolName.KV: 5})
    assert (every.kv_hit_pages, every.restorable_prefix_pages) == (2, [1, 2])
    assert (trailing.kv_hit_pages, trailing.restorable_prefix_pages) == (5, [1, 2, 4, 5])


def test_a_pool_nobody_registered(two_pools):
    backend, _ = two_pools
    unknown = PoolTransfer(name=PoolName.MAMBA, host_indices=indices(0), keys=page_keys(1))
    assert backend.batch_set_v2([unknown, several(backend, [0])]) == \
        {PoolName.MAMBA: [False], PoolName.INDEXER: [True]}
    backend.batch_set_v1(page_keys(1), indices(0))
    assert backend.batch_exists_v2(page_keys(1), [unknown]).kv_hit_pages == 0
