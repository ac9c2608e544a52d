"""The cache for eviction policies in Python, and those policies."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aibrix_kvcache.cache_hashable import BlockHashes, TokenListView
from aibrix_kvcache.l1 import L1Cache
from aibrix_kvcache.l1.chain_keys import chain_keys
from aibrix_kvcache.l1.eviction_policy import (
    FIFO,
    LRU,
    S3FIFO,
    BaseEvictionPolicy,
    is_python_policy,
    policy_name_from_environment,
    register_eviction_policy,
    unregister_eviction_policy,
)
from aibrix_kvcache.memory import ExternalMemoryRegion, TensorPoolAllocator
from aibrix_kvcache.metrics import L1CacheMetrics
from aibrix_kvcache.spec import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec
from aibrix_kvcache.status import StatusCodes

TOKENS = 16
SPEC = KVCacheBlockSpec(TOKENS, torch.float16, KVCacheBlockLayout.NCLD, KVCacheTensorSpec([0], [0], 4))
NBYTES = SPEC.block_nbytes
POLICIES = [LRU, FIFO, S3FIFO]


def region_of(nbytes=16):
    return ExternalMemoryRegion(torch.zeros(nbytes, dtype=torch.uint8), 0, nbytes)


def new_cache(blocks, policy="LRU", spare=4, **more):
    allocator = TensorPoolAllocator.create(capacity_nbytes=(blocks + spare) * NBYTES)
    return L1Cache(policy, blocks * NBYTES, allocator, SPEC, **more)


def keys_of(*numbers):
    return [number.to_bytes(16, "little") for number in numbers]


def put(cache, *numbers):
    regions = cache.allocate([NBYTES] * len(numbers)).get()
    for number, region in zip(numbers, regions, strict=False):
        region.fill(bytes([number % 256]) * NBYTES)
    return cache.put_keys(keys_of(*numbers[: len(regions)]), regions)


def pattern_of(region):
    assert len(set(region.tobytes())) == 1
    return region.tobytes()[0]


# Policies alone.


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_hold_exactly_their_capacity(policy):
    said = []
    kept = policy(160, on_evict=lambda key, region: (said.append(key), region.ref_down()))
    regions = [region_of() for _ in range(14)]
    for number, region in enumerate(regions):
        assert kept.put(number, region).is_ok()
    assert len(kept) == 160 and list(kept) == list(range(4, 14)) and said == [0, 1, 2, 3]
    assert [region.ref_count for region in regions] == [0] * 4 + [1] * 10
    got = kept.get(7)
    assert got.get() is regions[7] and regions[7].ref_count == 2
    assert kept.get("x").is_not_found() and kept.delete("x").is_ok()
    kept.evict(40)
    assert len(kept) == 112
    kept.assert_consistency()
    kept.put("big", big := region_of(1000))
    assert "big" not in kept and big.ref_count == 0
    with pytest.raises(KeyError):
        kept["big"]


def test_order_of_eviction():
    orders = {}
    for policy in POLICIES:
        said = orders[policy] = []
        kept = policy(160, on_evict=lambda key, region, said=said: (said.append(key), region.ref_down()))
        for number in range(10):
            kept.put(number, region_of())
        kept[0].ref_down()
        kept.put(1, region_of())
        for number in range(10, 20):
            kept.put(number, region_of())
    assert orders[FIFO] == list(range(10))
    assert orders[LRU] == [*range(2, 10), 0, 1]
    assert 0 not in orders[S3FIFO], "asked for once, it moved to the main queue"


@pytest.mark.parametrize("policy", POLICIES)
def test_callbacks_and_references(policy):
    said = []

    def note(what):
        def call(key, region):
            said.append((what, key))
            region.ref_down()

        return call

    kept = policy(160, note("put"), note("evict"), note("hot"))
    first, second = region_of(), region_of()
    kept.put("a", first)
    for _ in range(3):
        kept["a"].ref_down()
    kept.put("a", second)
    assert first.ref_count == 0 and second.ref_count == 1
    assert said == [("put", "a"), ("hot", "a")]
    kept.delete("a")
    assert second.ref_count == 0 and said[2:] == [], "a deleted block is not an evicted one"
    kept.set_on_put_callback(None)
    kept.put("b", region_of())
    assert len(said) == 2
    kept.assert_consistency()


def test_ghosts_are_bounded_and_remembered():
    hot = []
    kept = S3FIFO(160, on_hot_access=lambda key, region: (hot.append(key), region.ref_down()))
    for number in range(2000):
        kept.put(number, region_of())
    assert len(kept._ghost) * 16 <= 160
    kept.assert_consistency()
    ghost = next(reversed(kept._ghost))
    kept.put(ghost, region_of())
    assert hot == [ghost] and ghost in kept._main
    kept.delete(ghost)
    assert ghost not in kept


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "delete", "evict"]), st.integers(0, 12), st.integers(1, 60)),
        max_size=80,
    ),
)
def test_policies_against_a_dictionary(policy, steps):
    live = {}
    kept = policy(200, on_evict=lambda key, region: (live.pop(key), region.ref_down()))
    for what, key, size in steps:
        if what == "put":
            live[key] = region = region_of(size)
            kept.put(key, region)
        elif what == "get":
            got = kept.get(key)
            assert got.is_ok() == (key in live)
            if got.is_ok():
                assert got.get() is live[key]
                got.get().ref_down()
        elif what == "delete":
            kept.delete(key)
            live.pop(key, None)
        else:
            before = len(kept)
            kept.evict(size)
            assert len(kept) <= max(0, before - size)
        kept.assert_consistency()
        assert dict(kept.items()) == live and len(kept) == sum(r.length for r in live.values()) <= 200
        assert all(region.ref_count == 1 for region in live.values())


# Names.


class OnlyEven(LRU):
    """A policy as a user would write it: odd keys leave at once."""

    def put(self, key, value):
        status = super().put(key, value)
        if int.from_bytes(key, "little") % 2:
            self.delete(key)
        return status


def test_policies_by_name(monkeypatch):
    variable = "AIBRIX_KV_CACHE_OL_L1_CACHE_EVICTION_POLICY"
    register_eviction_policy("only_even", OnlyEven)
    try:
        monkeypatch.setenv(variable, "Only_Even")
        assert is_python_policy(policy_name_from_environment())
        assert type(BaseEvictionPolicy.create(policy_name_from_environment(), 100)) is OnlyEven
    finally:
        unregister_eviction_policy("ONLY_EVEN")
    spelled = f"{__name__}:OnlyEven"
    monkeypatch.setenv(variable, spelled)
    assert policy_name_from_environment() == spelled and is_python_policy(spelled)
    assert type(BaseEvictionPolicy.create(spelled, 100)) is OnlyEven
    assert BaseEvictionPolicy.create("s3fifo", 100).name == "S3FIFO" and not is_python_policy("ADAPTIVE")


def test_names_that_do_not_work():
    with pytest.raises(ValueError, match="unknown eviction policy 'MRU': there is LRU, FIFO, S3FIFO"):
        BaseEvictionPolicy.create("MRU", 100)
    for name in ("lru", "ADAPTIVE", "", "a:b"):
        with pytest.raises(ValueError, match="cannot be the name"):
            register_eviction_policy(name, OnlyEven)
    with pytest.raises(TypeError, match="not a subclass"):
        register_eviction_policy("x", dict)
    with pytest.raises(TypeError, match="lacks assert_consistency, delete, evict, get, put"):
        register_eviction_policy("x", type("Half", (BaseEvictionPolicy,), {}))
    with pytest.raises(ValueError, match="cannot be imported"):
        BaseEvictionPolicy.create("nowhere:Class", 100)


def test_parameters_of_s3fifo(monkeypatch):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD", "2")
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_S3FIFO_SMALL_FIFO_CAPACITY_RATIO", "0.5")
    hot = []
    kept = S3FIFO(160, on_hot_access=lambda key, region: (hot.append(key), region.ref_down()))
    kept.put("a", region_of())
    kept["a"].ref_down()
    assert hot == []
    kept["a"].ref_down()
    assert hot == ["a"] and kept._small_capacity == 80


# The cache.


@pytest.mark.parametrize("policy", ["LRU", "FIFO", "S3FIFO"])
def test_cache_by_keys(policy):
    cache = new_cache(8, policy)
    assert put(cache, 1, 2, 3) == 3 and len(cache) == 3 * NBYTES
    assert cache.exists_keys(keys_of(1, 2, 9, 3)) == 2 and cache.exists_keys(keys_of(9, 1)) == 0
    regions = cache.acquire_keys(keys_of(1, 2, 3, 4))
    assert [pattern_of(region) for region in regions] == [1, 2, 3]
    assert [region.ref_count for region in regions] == [2] * 3
    for region in regions:
        region.ref_down()
    assert cache.delete_keys(keys_of(2, 9)) == 1 and cache.exists_keys(keys_of(1, 2, 3)) == 1
    cache.assert_consistency()
    cache.clear()
    assert len(cache) == 0 and len(cache.allocator) == 0


def test_a_prompt_goes_from_its_end():
    cache = new_cache(8)
    put(cache, *range(4))
    for region in cache.acquire_keys(keys_of(*range(4))):
        region.ref_down()
    put(cache, *range(10, 16))
    assert cache.exists_keys(keys_of(*range(4))) == 2, "the first blocks of the prompt are the last to go"


def test_what_is_put_twice_stays_as_it_is():
    cache = new_cache(8)
    put(cache, 1)
    [held] = cache.acquire_keys(keys_of(1))
    [again] = cache.allocate([NBYTES]).get()
    assert cache.put_keys(keys_of(1), [again]) == 1
    assert again.ref_count == 0 and cache.acquire_keys(keys_of(1)) == [held]


def test_pinned_blocks_stay_and_do_not_empty_the_cache():
    cache = new_cache(8, spare=0)
    put(cache, *range(8))
    pinned = cache.acquire_keys(keys_of(0, 1, 2, 3))
    assert put(cache, 20, 21) == 2
    assert cache.exists_keys(keys_of(0, 1, 2, 3)) == 4
    pinned += cache.acquire_keys(keys_of(20)) + cache.acquire_keys(keys_of(21))
    rest = [key for key in cache.eviction_policy.keys() if cache.eviction_policy._hashmap[key].value.ref_count == 1]
    assert len(rest) == 2
    pinned += [region for key in rest for region in cache.acquire_keys([key])]
    status = cache.allocate([NBYTES])
    assert status.error_code is StatusCodes.OUT_OF_MEMORY
    assert len(cache) == 8 * NBYTES, "nothing was evicted in vain"
    stranger = region_of(NBYTES)
    assert cache.put_keys(keys_of(99), [stranger]) == 0 and stranger.ref_count == 0
    cache.assert_consistency()
    for region in pinned:
        region.ref_down()
    assert put(cache, 30) == 1
    cache.clear()
    assert len(cache.allocator) == 0


def test_an_unpinned_block_behind_many_pinned_ones_is_found_in_the_end():
    cache = new_cache(200, spare=0)
    put(cache, *range(200))
    pinned = cache.acquire_keys(keys_of(*range(199)))
    for region in cache.acquire_keys(keys_of(199)):  # The youngest, and the only one that may go.
        region.ref_down()
    attempts = [cache.allocate([NBYTES]) for _ in range(5)]
    put_one = [region for status in attempts if status.is_ok() for region in status.get()]
    assert len(put_one) == 1 and not attempts[0].is_ok()
    assert cache.exists_keys(keys_of(*range(199))) == 199
    for region in [*pinned, *put_one]:
        region.ref_down()


def test_callbacks_come_after_the_lock():
    said = []
    cache = new_cache(4)

    def note(what):
        def call(key, region):
            assert cache._lock.acquire(timeout=30), "called with the lock held"
            cache._lock.release()
            said.append((what, int.from_bytes(key, "little"), pattern_of(region)))
            region.ref_down()

        return call

    cache.set_on_put_callback(note("put"))
    cache.set_on_evict_callback(note("evict"))
    cache.set_on_hot_access_callback(note("hot"))
    put(cache, 1, 2, 3, 4)
    assert said == [("put", n, n) for n in (1, 2, 3, 4)]
    said.clear()
    for region in cache.acquire_keys(keys_of(1)):
        region.ref_down()
    put(cache, 5)
    assert said == [("hot", 1, 1), ("evict", 2, 2), ("put", 5, 5)]
    cache.clear()
    assert len(cache.allocator) == 0


def test_a_callback_that_raises_is_logged(caplog):
    cache = new_cache(4)

    def fail(key, region):
        region.ref_down()
        raise RuntimeError("no")

    cache.set_on_put_callback(fail)
    assert put(cache, 1) == 1 and "callback for put" in caplog.text


def test_evicted_blocks_that_a_callback_holds_do_not_empty_the_cache():
    held = []
    cache = new_cache(16, spare=0, on_evict=lambda key, region: held.append(region))
    put(cache, *range(16))
    assert cache.allocate([NBYTES]).error_code is StatusCodes.OUT_OF_MEMORY
    assert 0 < len(held) <= 4 and len(cache) >= 12 * NBYTES
    for region in held:
        region.ref_down()
    assert cache.allocate([NBYTES]).is_ok()


def test_a_policy_of_the_user():
    register_eviction_policy("even", OnlyEven)
    try:
        cache = new_cache(8, "even")
    finally:
        unregister_eviction_policy("even")
    put(cache, 2, 3, 4)
    assert [cache.exists_keys(keys_of(n)) for n in (2, 3, 4)] == [1, 0, 1]
    cache.assert_consistency()
    assert len(cache.allocator) == 2 * NBYTES


def test_by_prefix_and_query():
    metrics = L1CacheMetrics(cache_type="L1Cache", block_ntokens=TOKENS, capacity_nbytes=NBYTES * 8)
    cache = new_cache(8, metrics=metrics)
    tokens = TokenListView(list(range(100)))
    prefix, query = tokens[:32], tokens[32:84]
    blocks = torch.arange(3 * NBYTES // 2, dtype=torch.float16).view(3, *SPEC.block_shape)
    assert cache.acquire(prefix, query).is_not_found()
    assert cache.put(prefix, query, list(blocks)).get() == 3
    regions = cache.acquire(prefix, query).get()
    for region, block in zip(regions, blocks, strict=True):
        assert torch.equal(region.to_tensor(SPEC.block_dtype, SPEC.block_shape), block)
        region.ref_down()
    assert cache.exists(tokens[:48], tokens[48:]).get() == 2, "the prefix says where the query begins"
    assert cache.exists(None, query).is_not_found(), "the same tokens after nothing are other blocks"
    assert cache.exists(tokens[:31], tokens[31:]).is_invalid()
    apart = TokenListView(list(range(32))), TokenListView(list(range(32, 84)))
    assert cache.exists(*apart).get() == 3, "views of other arrays with the same tokens"
    assert cache.delete(prefix, query).is_ok() and cache.exists(prefix, query).is_not_found()
    assert metrics.num_tokens_hit == 48 and metrics.put_metrics.num_ops == 1
    assert metrics.allocator_usage_metrics.used_nbytes == len(cache.allocator) == 0


def test_one_tensor_of_many_tokens():
    cache = new_cache(8)
    tokens = TokenListView(list(range(40)))
    whole = torch.arange(40 * 8, dtype=torch.float16).view(40, *SPEC.block_shape[1:])
    assert cache.put(None, tokens, whole).get() == 2
    first, second = cache.acquire(None, tokens).get()
    assert torch.equal(second.to_tensor(torch.float16, SPEC.block_shape), whole[16:32])
    for region in (first, second):
        region.ref_down()


def test_what_does_not_fit_the_query():
    cache = new_cache(8)
    tokens = TokenListView(list(range(32)))
    region = region_of(NBYTES)
    assert cache.put(None, tokens, [region]).is_invalid() and region.ref_count == 0
    status = cache.put(None, tokens, [torch.zeros(3), torch.zeros(3)])
    assert status.is_invalid() and "12 bytes" in status.value
    assert cache.put(None, tokens[:3], []).is_invalid()


def test_keys_of_block_hashes():
    cache = new_cache(8)
    hashes = BlockHashes([f"h{n}" for n in range(8)], 8)
    blocks = [torch.zeros(SPEC.block_shape, dtype=SPEC.block_dtype) for _ in range(4)]
    assert cache.put(None, hashes, blocks).get() == 4
    assert cache.exists(hashes[:16], hashes[16:48]).get() == 2
    with pytest.raises(ValueError, match="24 tokens do not make up"):
        chain_keys(None, BlockHashes(["a"], 24), TOKENS)


def test_keys_are_computed_once_and_per_block_size():
    array = np.arange(64, dtype=np.int32)
    whole = TokenListView(array)
    keys = chain_keys(None, whole, 16)
    assert chain_keys(whole[:32], whole[32:], 16) == keys[2:]
    assert len(chain_keys(None, whole, 32)) == 2 and chain_keys(None, whole[16:], 16) != keys[1:]
    assert chain_keys(None, TokenListView(list(range(64))), 16) == keys


def test_many_threads():
    cache = new_cache(16, "S3FIFO", spare=24)
    wrong = []

    def work(seed):
        generator = np.random.default_rng(seed)
        for _ in range(300):
            start = int(generator.integers(0, 40))
            numbers = range(start, start + 4)
            if generator.integers(0, 2):
                put(cache, *numbers)
            for number, region in zip(numbers, cache.acquire_keys(keys_of(*numbers)), strict=False):
                if pattern_of(region) != number:
                    wrong.append(number)
                region.ref_down()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    cache.assert_consistency()
    assert not wrong and len(cache.allocator) == len(cache)
