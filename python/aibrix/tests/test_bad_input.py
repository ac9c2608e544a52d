"""Misuse: the documented status or exception, with the offending value in the text."""

from __future__ import annotations

import re

import pytest
import torch
from rig import BLOCK_NBYTES, acquired, as_hashes, environment, manager, own_handle, put_prompt, spec_of

from aibrix_kvcache import (
    BlockHashes,
    GDRKVCacheHandle,
    MemoryRegion,
    MemoryRegionKVCacheHandle,
    StatusCodes,
    TokenListView,
)

TOKENS = list(range(16))
INVALID, DENIED = StatusCodes.INVALID, StatusCodes.DENIED


@pytest.fixture
def cache():
    with manager() as made:
        yield made


def says(status, code: StatusCodes, *words: str) -> None:
    assert status.error_code is code, status
    for word in words:
        assert word in str(status.value), f"{word!r} is not in {status.value}"


@pytest.mark.parametrize("call", ["acquire", "exists", "delete", "allocate_for", "get", "put"])
def test_a_prefix_that_is_not_whole_blocks(cache, call):
    whole = TokenListView(TOKENS)
    given = [own_handle(cache.block_spec, 1)[1]] if call in ("get", "put") else []
    says(getattr(cache, call)(whole[:3], whole[3:], *given), INVALID, "3 tokens", "blocks of 4")
    if call == "put":
        assert given[0].released


def test_less_than_a_block(cache):
    whole = TokenListView(TOKENS)
    says(cache.allocate_for(None, whole[:3]), INVALID, "3 tokens", "block of 4")
    assert cache.acquire(None, whole[:3]).is_not_found()
    assert cache.exists(None, whole[:0]).is_not_found()
    assert cache.delete(None, whole[:3]).is_ok()
    assert cache.put(None, whole[:3], own_handle(cache.block_spec, 1)[1]).get() == 0


@pytest.mark.parametrize("call", ["get", "put"])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        (spec_of(dtype=torch.int32), ("torch.int32", "torch.float32")),
        (spec_of(dtype=torch.float16), ("torch.float16", "torch.float32")),
        (spec_of("LCND"), ("(2, 2, 4, 2, 4)", "(4, 2, 2, 2, 4)")),
        (spec_of(ntokens=8), ("(8, 2, 2, 2, 4)", "(4, 2, 2, 2, 4)")),
    ],
)
def test_a_handle_of_other_blocks(cache, call, other, words):
    put_prompt(cache, TOKENS)
    tensors, handle = own_handle(other, 2)
    says(getattr(cache, call)(None, TokenListView(TOKENS), handle), INVALID, *words)
    assert all(not tensor.any() for tensor in tensors)
    assert handle.released is (call == "put")
    assert acquired(cache, TOKENS) == 16


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_region_of_another_size(cache, call):
    put_prompt(cache, TOKENS)
    slab = torch.zeros(1000, dtype=torch.uint8)
    good, short = MemoryRegion(slab, 0, BLOCK_NBYTES), MemoryRegion(slab, BLOCK_NBYTES, 256)
    handle = MemoryRegionKVCacheHandle(cache.block_dtype, cache.block_shape, [good, short])
    says(getattr(cache, call)(None, TokenListView(TOKENS), handle), INVALID, "block 1", "256 bytes", "512")
    assert not slab.any()


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_region_that_ends_outside_of_its_slab(cache, call):
    put_prompt(cache, TOKENS)
    outside = MemoryRegion(torch.zeros(BLOCK_NBYTES, dtype=torch.uint8), 16, BLOCK_NBYTES)
    handle = MemoryRegionKVCacheHandle(cache.block_dtype, cache.block_shape, [outside])
    says(getattr(cache, call)(None, TokenListView(TOKENS), handle), INVALID, "496", "512")


@pytest.mark.parametrize(
    ("select", "words"),
    [((0, 1), "512 bytes at 128"), ((0, -4), "at -512"), ((2, 0), "block 2"), ((-1, 0), "block -1")],
)
def test_a_place_outside_of_the_engine_s_memory(cache, select, words):
    with pytest.raises(ValueError, match=words):
        MemoryRegionKVCacheHandle.create([torch.zeros(cache.block_shape)], cache.block_spec, [select])


def test_memory_of_the_engine_that_is_not_contiguous(cache):
    """A copy of it would be stored late and never be read into."""
    scattered = torch.zeros(2, *cache.block_shape).transpose(0, 1)
    with pytest.raises(ValueError, match=re.escape("(4, 2, 2, 2, 2, 4)")):
        MemoryRegionKVCacheHandle.create([scattered], cache.block_spec, [(0, 0)])


def handles_of(cache):
    """One of each kind there is."""
    put_prompt(cache, TOKENS)
    return {
        "acquired": cache.acquire(None, TokenListView(TOKENS)).get()[1],
        "reserved": cache.allocate_for(None, TokenListView(range(100, 116))).get(),
        "allocated": cache.allocate(4).get(),
        "external": own_handle(cache.block_spec, 4)[1],
    }


@pytest.mark.parametrize("kind", ["acquired", "reserved", "allocated", "external"])
def test_a_handle_that_was_released(cache, kind):
    handle = handles_of(cache)[kind]
    assert not handle.released
    handle.release()
    assert handle.released
    with pytest.raises(ValueError, match="already zero"):
        handle.release()
    with pytest.raises(ValueError, match="released"):
        handle.to_tensors()
    with pytest.raises(ValueError, match="released"):
        handle.truncate(1)
    says(cache.put(None, TokenListView(range(100, 116)), handle), INVALID, "released")
    says(cache.get(None, TokenListView(TOKENS), handle), INVALID, "released")
    assert cache.exists(None, TokenListView(range(100, 116))).is_not_found()


@pytest.mark.parametrize("kind", ["acquired", "reserved", "allocated", "external"])
def test_put_takes_a_handle_over(cache, kind):
    handle = handles_of(cache)[kind]
    assert cache.put(None, TokenListView(range(100, 116)), handle).get() == 16
    with pytest.raises(ValueError, match="already zero"):
        handle.release()
    says(cache.put(None, TokenListView(range(100, 116)), handle), INVALID, "released")
    assert acquired(cache, TOKENS) == 16


@pytest.mark.parametrize("kind", ["acquired", "reserved", "allocated", "external"])
def test_cutting_a_handle_to_nonsense(cache, kind):
    handle = handles_of(cache)[kind]
    with pytest.raises(ValueError, match="-1"):
        handle.truncate(-1)
    for nonsense, text in (("two", "'two'"), (1.5, "1.5"), (None, "None")):
        with pytest.raises(TypeError, match=text):
            handle.truncate(nonsense)
    assert len(handle) == 4
    handle.truncate(99)
    assert len(handle) == 4
    handle.truncate(0)
    assert len(handle) == 0 and list(handle.to_tensors()) == []
    handle.release()


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        (None, AssertionError, "None"),
        ("tokens", AssertionError, "'tokens'"),
        ([1, 2, 3.5, 4], AssertionError, "3.5"),
        ([1, 2, 1 << 40, 4], ValueError, str(1 << 40)),
        (7, AssertionError, "7"),
    ],
)
def test_what_is_no_key(cache, query, error, words):
    with pytest.raises(error, match=words):
        cache.acquire(None, query)


def test_what_is_no_handle(cache):
    for nonsense, name in ((None, "NoneType"), ("x", "str"), (torch.zeros(4), "Tensor")):
        for call in (cache.put, cache.get):
            with pytest.raises(AssertionError, match=name):
                call(None, TOKENS, nonsense)
    for count in (0, -1):
        says(cache.allocate(count), INVALID, str(count))
    says(cache.register_kvcache("layers"), INVALID, "str")


def test_block_hashes_of_another_size(cache):
    for ntokens in (3, 8):
        with pytest.raises(AssertionError, match=f"{ntokens} tokens"):
            cache.acquire(None, BlockHashes(["a" * 32] * 4, ntokens))


def test_prefix_and_query_of_two_kinds(cache):
    with pytest.raises(AssertionError, match="BlockHashes"):
        cache.acquire(TokenListView(TOKENS), as_hashes(TOKENS, 0)[1])


def test_block_hashes_do_not_go_with_tokens_that_are_compared():
    with manager(TOKEN_VALIDATION_ENABLED=1) as cache, pytest.raises(AssertionError, match="BlockHashes"):
        cache.acquire(*as_hashes(TOKENS, 0))


def test_sequences_that_are_too_long():
    with manager(MAX_SEQ_LEN=8) as cache:
        says(put_prompt(cache, TOKENS, 8), DENIED, "8 tokens")
        assert put_prompt(cache, TOKENS, 4).get() == 4
        assert cache.exists(TokenListView(TOKENS[:4]), TokenListView(TOKENS[4:])).get() == 4


def layers() -> list[torch.Tensor]:
    return [torch.zeros(2, 3, 4, 2, 4) for _ in range(2)]


def test_scattered_handles_where_they_do_not_work(cache):
    spec = spec_of("LCND")
    with pytest.raises(ValueError, match="NCLD"):
        GDRKVCacheHandle.create(layers(), cache.block_spec, torch.arange(8))
    with pytest.raises(AssertionError, match="7 slots"):
        GDRKVCacheHandle.create(layers(), spec, torch.arange(7))
    with pytest.raises(ValueError, match="3200"):
        GDRKVCacheHandle.create(layers(), spec, torch.arange(100, 108))
    with manager(spec) as scattered:
        handle = GDRKVCacheHandle.create(layers(), spec, torch.arange(8))
        with pytest.raises(AssertionError, match="GDRKVCacheHandle"):
            scattered.get(None, TokenListView(TOKENS), handle)
        assert scattered.put(None, TokenListView(TOKENS), handle).get() == 8
        says(scattered.put(None, TokenListView(TOKENS), handle), INVALID, "released")


def test_after_close():
    with manager(L2_CACHE_BACKEND="MOCK") as cache:
        put_prompt(cache, TOKENS)
        kept = cache.acquire(None, TokenListView(TOKENS)).get()[1]
        reserved = cache.allocate_for(None, TokenListView(range(100, 116))).get()
        cache.close()
        for call in (cache.acquire, cache.exists, cache.delete, cache.allocate_for):
            says(call(None, TokenListView(TOKENS)), INVALID, "closed")
        says(cache.get(None, TokenListView(TOKENS), cache.allocate(1).get()), INVALID, "closed")
        says(cache.put(None, TokenListView(TOKENS), cache.allocate(1).get()), INVALID, "closed")
        says(cache.flush(), INVALID, "closed")
        assert cache.metrics.summary()
        kept.release()
        reserved.release()
        cache.close()


@pytest.mark.parametrize(
    ("env", "error", "words"),
    [
        ({"L1_CACHE_EVICTION_POLICY": "LIFO"}, ValueError, "L1_CACHE_EVICTION_POLICY=LIFO.*ADAPTIVE"),
        ({"L1_CACHE_EVICTION_POLICY": "no.such:Policy"}, ValueError, "no.such:Policy"),
        ({"L1_CACHE_ENABLED": 0}, AssertionError, "L1_CACHE_ENABLED.*L2_CACHE_BACKEND"),
        ({"L1_CACHE_CAPACITY_GB": 0}, AssertionError, "L1_CACHE_CAPACITY_GB"),
        ({"L1_CACHE_CAPACITY_GB": -1}, ValueError, "'-1'"),
        ({"L1_CACHE_CAPACITY_GB": "lots"}, ValueError, "L1_CACHE_CAPACITY_GB.*'lots'"),
        ({"capacity": BLOCK_NBYTES - 1}, ValueError, "511 bytes.*512"),
        ({"capacity": BLOCK_NBYTES, "TOKEN_VALIDATION_ENABLED": 1}, ValueError, "512 bytes.*560"),
        ({"L2_CACHE_BACKEND": "FLOPPY"}, ValueError, "L2_CACHE_BACKEND.*'FLOPPY'.*MOCK"),
        ({"L2_CACHE_BACKEND": "HPKV"}, ValueError, "L2_CACHE_BACKEND=HPKV.*REPRISE"),
        ({"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": "gopher://far"}, ValueError, "REPRISE_URL.*gopher://far"),
        ({"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": ""}, ValueError, "REPRISE_URL is empty"),
        ({"L2_CACHE_BACKEND": "REPRISE", "REPRISE_TOKEN_FILE": "/no/token"}, ValueError, "TOKEN_FILE.*/no/token"),
        ({"L2_CACHE_BACKEND": "SHFS", "SHFS_ROOT": "/dev/null/x"}, ValueError, "SHFS_ROOT=/dev/null/x.*directory"),
        ({"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": "mock:?delay=soon"}, ValueError, "delay.*soon"),
        ({"L2_CACHE_BACKEND": "REPRISE", "REPRISE_URL": "mock:?colour=red"}, ValueError, "colour"),
        ({"L2_CACHE_BACKEND": "MOCK", "L2_CACHE_INGESTION_TYPE": "COLD"}, ValueError, "'COLD'.*EVICTED"),
        ({"L2_CACHE_BACKEND": "MOCK", "L2_CACHE_KEY_BUILDER": "MD5"}, ValueError, "'MD5'.*ROLLING_HASH"),
        ({"L2_CACHE_BACKEND": "MOCK", "L2_CACHE_NUM_ASYNC_WORKERS": 0}, ValueError, "'0'.*1 to 256"),
        ({"DOUBLE_GET_THRESHOLD": "4,x"}, ValueError, "'4,x'"),
        ({"CHUNK_SIZE": "many"}, ValueError, "CHUNK_SIZE.*'many'"),
        ({"TOKEN_VALIDATION_ENABLED": "perhaps"}, ValueError, "'perhaps'"),
    ],
)
def test_an_environment_that_cannot_work(env, error, words):
    with pytest.raises(error, match=words), manager(**env):
        pass


def test_a_block_size_that_cannot_work():
    with environment(BLOCK_SIZE=3), pytest.raises(AssertionError, match="BLOCK_SIZE.*3"):
        spec_of()
