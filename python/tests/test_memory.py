"""The cache's memory as one buffer, and blocks by their place in it."""

import gc
import time

import numpy as np
import pytest

import reprise

from conftest import BLOCK, block, make_chain


def stored(cache, blocks=3, first=0):
    chain = make_chain(blocks, first=first)
    cache.put(chain, [block(i) for i in range(blocks)])
    return chain


def test_offsets_of_a_lease_are_where_its_views_are(cache):
    memory = cache.memory
    assert memory.readonly and memory.format == "B" and memory.nbytes >= 4 << 20
    start = np.frombuffer(memory, dtype=np.uint8).ctypes.data
    with cache.acquire(stored(cache)) as lease:
        offsets = lease.offsets
        assert (offsets.format, len(offsets), offsets.itemsize) == ("q", 3, 8)
        for i, offset in enumerate(offsets):
            assert memory[offset:offset + BLOCK] == block(i)
            assert start + offset == np.frombuffer(lease[i], dtype=np.uint8).ctypes.data
    with pytest.raises(BufferError, match="released"):
        lease.offsets  # noqa: B018


def test_a_reservation_is_filled_by_its_offsets(cache):
    chain = make_chain(4)
    cache.put(chain, [block(7)])
    memory = cache.writable_memory
    with cache.reserve(chain) as places:
        offsets = places.offsets.tolist()
        assert offsets[0] == -1 and places[0] is None and min(offsets[1:]) >= 0
        for i in range(1, 4):
            memory[offsets[i]:offsets[i] + BLOCK] = block(i)
        assert places.commit() == 4
        with pytest.raises(BufferError, match="ended"):
            places.offsets  # noqa: B018
    out = bytearray(4 * BLOCK)
    assert cache.get(chain, out).blocks == 4
    assert out == block(7) + block(1) + block(2) + block(3)


def test_blocks_beside_memory_have_places_too(tmp_path):
    """What memory declines and only the disk keeps, on its way there and back."""
    url = f"disk:{tmp_path}/tier?capacity=320MiB"
    options = dict(l1_capacity=4 * BLOCK, l1_populate=False, l1_policy="lru", l2_url=url, l2_ingest="ALL")
    chain = make_chain(12)
    with reprise.Cache.open(**options) as cache:
        with cache.reserve(chain) as places:
            memory = cache.writable_memory
            for i, offset in enumerate(places.offsets):
                assert offset >= 0
                memory[offset:offset + BLOCK] = block(i)
            assert places.commit() == 12
        assert cache.flush(timeout=60)
        with cache.acquire(chain, timeout=60) as lease:
            assert lease.match.blocks == 12 and lease.match.from_l2 >= 8
            assert [bytes(cache.memory[o:o + BLOCK]) for o in lease.offsets] == [block(i) for i in range(12)]


def test_the_memory_outlives_the_cache_but_keeps_it_not_open(cache):
    chain = stored(cache)
    with cache.acquire(chain) as lease:
        offset = lease.offsets[1]
    view = np.frombuffer(cache.memory, dtype=np.uint8)
    cache.close()
    gc.collect()
    assert bytes(view[offset:offset + BLOCK]) == block(1)
    with pytest.raises(reprise.InvalidError, match="closed"):
        cache.memory  # noqa: B018


def test_attached_caches_have_no_such_memory(daemon):
    with reprise.Cache.open(daemon) as cache:
        assert cache.memory is None and cache.writable_memory is None
        with cache.acquire(stored(cache, first=40_000)) as lease, pytest.raises(BufferError, match="memory is None"):
            lease.offsets  # noqa: B018
        with cache.reserve(make_chain(1, first=41_000)) as places, pytest.raises(BufferError, match="is None"):
            places.offsets  # noqa: B018


def test_a_hold_counts_as_a_view(any_cache):
    lease = any_cache.acquire(stored(any_cache, first=42_000))
    held = lease.hold()
    with pytest.raises(BufferError, match="1 live views"):
        lease.release()
    held.release()
    held.release()
    with lease.hold(), pytest.raises(BufferError, match="1 live views"):
        lease.release()
    lease.release()
    with pytest.raises(BufferError, match="released"):
        lease.hold()


def test_a_held_lease_is_renewed():
    with reprise.Cache.open(l1_capacity="1MiB", lease_ttl=0.15, l1_populate=False) as cache:
        chain = stored(cache)
        held, idle = cache.acquire(chain), cache.acquire(chain)
        hold = held.hold()
        deadline = time.monotonic() + 30
        while idle.valid and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not idle.valid and held.valid
        for ended in (idle.hold, lambda: idle.offsets):
            with pytest.raises(BufferError, match="ran out"):
                ended()
        hold.release()
        while held.valid and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not held.valid


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_hold_left_behind_defers_the_release(cache):
    with cache.acquire(stored(cache)) as lease:
        held = lease.hold()
    assert not lease.released and cache.stats().leases == 1
    del held
    assert lease.released and cache.stats().leases == 0


def test_a_lease_gives_its_tail_back(any_cache):
    with any_cache.acquire(stored(any_cache, first=43_000)) as lease:
        with lease.hold(), pytest.raises(BufferError, match="1 live views"):
            lease.truncate(1)
        if any_cache.memory is None:
            assert not lease.truncate(1) and len(lease) == 3
        else:
            assert lease.truncate(1) and len(lease) == len(lease.offsets) == 1
            assert any_cache.stats().leased_blocks == 1
        assert lease.truncate(3) and bytes(lease[0]) == block(0)
    assert not lease.truncate(0)
