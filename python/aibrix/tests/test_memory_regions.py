"""Regions and the pool they come from."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aibrix_kvcache.cache_hashable import TokenListView
from aibrix_kvcache.memory import (
    CoalescingPoolAllocator,
    ExternalMemoryRegion,
    ManagedMemoryRegion,
    MemoryRegion,
    ObjectPoolAllocator,
    TensorPoolAllocator,
    memory_region,
)
from aibrix_kvcache.status import StatusCodes


def slab_of(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.uint8)


def test_region_reads_and_writes_its_part_of_the_slab():
    slab = slab_of(64)
    region = ExternalMemoryRegion(slab, 16, 32)
    assert len(region) == 32 and region.data_ptr() == slab.data_ptr() + 16
    assert region.tobytes() == bytes(range(16, 48))
    region.fill(bytes(32))
    assert slab[15] == 15 and slab[16:48].sum() == 0 and slab[48] == 48
    with pytest.raises(AssertionError, match="31 bytes"):
        region.fill(bytes(31))
    region.copy(ExternalMemoryRegion(slab_of(64), 32, 32))
    assert region.tobytes() == bytes(range(32, 64))
    with pytest.raises(AssertionError, match="8 bytes"):
        region.copy(ExternalMemoryRegion(slab_of(64), 0, 8))


def test_tensor_views_are_in_place_and_kept():
    region = ExternalMemoryRegion(torch.zeros(64, dtype=torch.uint8), 16, 32)
    view = region.to_tensor(torch.int32, (2, 4))
    assert view.shape == (2, 4) and view.data_ptr() == region.data_ptr()
    assert region.to_tensor(torch.int32, (2, 4)) is view
    assert region.to_tensor().shape == (32,)
    view[0, 0] = 7
    assert region.tobytes()[:4] == (7).to_bytes(4, "little")
    assert [t.dtype for t in MemoryRegion.to_tensors([region, region], torch.float16)] == [torch.float16] * 2


def test_references():
    slab, released = slab_of(16), []
    region = ExternalMemoryRegion(slab, 4, 8, on_release=lambda *args: released.append(args), depends_on=object())
    region.ref_up()
    region.ref_down()
    assert not released and region.ref_count == 1
    region.ref_down()
    assert released == [(slab, 4, 8)] and region.depends_on is None
    with pytest.raises(ValueError, match="already zero"):
        region.ref_down()
    with pytest.raises(ValueError, match="has ended"):
        region.ref_up()
    assert len(released) == 1


@pytest.mark.parametrize("kind", [TensorPoolAllocator, CoalescingPoolAllocator, ObjectPoolAllocator])
def test_pool(kind, monkeypatch):
    monkeypatch.setattr(TensorPoolAllocator, "SLAB_MAX_NBYTES", 1024)
    pool = kind(capacity_nbytes=2048)
    assert [slab.numel() for slab in pool.slabs] == [1024, 1024] and len(pool) == 0
    first = pool.alloc(100).get()
    assert len(first) == 1 and len(first[0]) == 100 and len(pool) == 112
    many = pool.alloc([512] * 8)
    assert many.is_ok() and len(many.get()) == 3, "a whole slab, and what the first left of the other"
    assert pool.alloc(1024).error_code is StatusCodes.OUT_OF_MEMORY
    for bad in ([], 0, [16, -1]):
        assert pool.alloc(bad).error_code is StatusCodes.INVALID
    pool.assert_consistency()
    for region in [*first, *many.get()]:
        region.ref_down()
    pool.assert_consistency()
    assert len(pool) == 0 and pool.num_memory_regions == 2
    with pytest.raises(ValueError, match="already zero"):
        first[0].ref_down()
    with pytest.raises(ValueError, match="not handed out"):
        pool.free(first[0])


def test_pool_gives_blocks_of_one_call_side_by_side():
    pool = TensorPoolAllocator.create(capacity_nbytes=1 << 16)
    regions = pool.alloc([256] * 16).get()
    assert [region.addr for region in regions] == list(range(0, 4096, 256))


def test_pool_refuses_a_region_of_another_pool():
    one, other = (TensorPoolAllocator.create(capacity_nbytes=1024) for _ in range(2))
    region = one.alloc(16).get()[0]
    other.alloc(16)
    with pytest.raises(ValueError, match="not handed out"):
        other.free(region)
    with pytest.raises(ValueError, match="capacity_nbytes=0"):
        TensorPoolAllocator.create(capacity_nbytes=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(0, 99)), max_size=40))
def test_pool_against_any_order(steps):
    """A list allocates those sizes, a number releases one of what is held."""

    class Small(TensorPoolAllocator):
        SLAB_MAX_NBYTES = 1000  # Not a multiple of the alignment.

    pool, held = Small(capacity_nbytes=2500), []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            if held:
                region, pattern = held.pop(step % len(held))
                assert region.tobytes() == bytes([pattern]) * len(region), "somebody wrote into a region that was held"
                region.ref_down()
        else:
            got = pool.alloc(step)
            regions = got.get([]) if got.is_ok() else []
            assert [len(region) for region in regions] == step[: len(regions)]
            for region in regions:
                region.fill(bytes([number]) * len(region))
                held.append((region, number))
        pool.assert_consistency()
    for region, _ in held:
        region.ref_down()
    pool.assert_consistency()
    assert len(pool) == 0 and pool.num_memory_regions == len(pool.slabs)


def test_pool_of_many_threads():
    pool = TensorPoolAllocator.create(capacity_nbytes=1 << 16)
    wrong = []

    def work(pattern):
        for _ in range(300):
            got = pool.alloc([64, 128, 32])
            for region in got.get([]) if got.is_ok() else []:
                region.fill(bytes([pattern]) * len(region))
                if set(region.tobytes()) != {pattern}:
                    wrong.append(region)
                region.ref_down()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    pool.assert_consistency()
    assert not wrong and len(pool) == 0


@pytest.mark.parametrize("prefix", [None, [1, 2, 3, 4]])
def test_tokens_behind_the_block(prefix, monkeypatch):
    monkeypatch.setattr(memory_region, "MR_USE_COMPACT_LAYOUT", False)
    size = ManagedMemoryRegion.calculate_size(100, 6)
    assert size == 144  # 100 + 3 words + 6 words, rounded up to 16.
    region = TensorPoolAllocator.create(capacity_nbytes=4096).alloc(size).get()[0]
    region.block_nbytes = 100
    view = TokenListView(prefix) if prefix else None
    region.pack_tokens(prefix=view, query=TokenListView([8, 9]))
    region.seal()
    assert region.is_sealed and region.to_tensor().numel() == 100
    got_prefix, got_query = region.unpack_tokens()
    assert list(got_query) == [8, 9]
    assert (list(got_prefix) if got_prefix is not None else None) == prefix
    region.slab[region.addr + 100] ^= 1
    assert region.unpack_tokens() == (None, None)
    with pytest.raises(ValueError, match="do not fit"):
        region.pack_tokens(prefix=view, query=TokenListView(list(range(60))))


def test_compact_layout_packs_nothing(monkeypatch):
    monkeypatch.setattr(memory_region, "MR_USE_COMPACT_LAYOUT", None)
    monkeypatch.delenv("AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED", raising=False)
    assert ManagedMemoryRegion.calculate_size(100, 6) == 100
    region = TensorPoolAllocator.create(capacity_nbytes=4096).alloc(100).get()[0]
    region.pack_tokens(query=TokenListView([1]))
    assert region.unpack_tokens() == (None, None)
