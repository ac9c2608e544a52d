"""Leases: zero copy, how long they live, what happens while somebody looks."""

import gc
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import reprise

from conftest import BLOCK, block, make_chain, make_namespace


def stored(cache, blocks=2, first=5000):
    chain = make_chain(blocks, first=first)
    cache.put(chain, [block(i) for i in range(blocks)])
    return chain


def address(view):
    return np.frombuffer(view, dtype=np.uint8).ctypes.data


def test_a_lease_reads_in_place(any_cache):
    chain = stored(any_cache)
    with any_cache.acquire(chain) as lease:
        assert (len(lease), lease.match.blocks, lease.valid, lease.released) == (2, 2, True, False)
        assert bytes(lease[0]) == block(0) and bytes(lease[-1]) == block(1)
        assert len([bytes(view) for view in lease]) == 2
        assert lease[0].readonly
        with pytest.raises(TypeError):
            lease[0][0] = 1
        assert not np.frombuffer(lease[0], dtype=np.uint8).flags.writeable
        with pytest.raises(IndexError, match="block index 2 of 2"):
            lease[2]
        # No copy is made for a view: another lease sees the same memory.
        with any_cache.acquire(chain) as other:
            assert address(lease[1]) == address(other[1])
    assert lease.released and not lease.valid
    with pytest.raises(BufferError, match="released"):
        lease[0]


def test_several_chains_make_one_lease(cache):
    one, two = stored(cache, 3, first=0), stored(cache, 2, first=900)
    with cache.acquire([one, two]) as lease:
        assert (lease.match.blocks, len(lease)) == (2, 4)
        assert [bytes(view) for view in lease] == [block(0), block(1)] * 2


def test_release_with_views_is_refused(any_cache):
    lease = any_cache.acquire(stored(any_cache))
    array = np.frombuffer(lease[0], dtype=np.uint8)
    with pytest.raises(BufferError, match="1 live views"):
        lease.release()
    assert array[0] == 1 and lease.valid
    del array
    lease.release()
    lease.release()
    assert lease.released


def test_leaving_with_views_defers_the_release_and_warns_once(cache):
    chain = stored(cache)
    with pytest.warns(ResourceWarning, match="views of it live"):
        with cache.acquire(chain) as lease:
            view = lease[0]
    assert not lease.released and cache.stats().leases == 1 and view[0] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cache.acquire(chain) as second:
            other = second[0]
    assert cache.stats().deferred_releases == 2
    keep = view.obj
    view.release()
    other.release()
    assert lease.released and second.released and cache.stats().leases == 0
    with pytest.raises(BufferError, match="given back"):
        memoryview(keep)


def test_a_view_outlives_lease_and_cache(cache):
    view = cache.acquire(stored(cache))[1]
    cache.close()
    gc.collect()
    assert bytes(view) == block(1)


def test_a_lease_nobody_looks_into_runs_out_and_a_viewed_one_does_not():
    with reprise.Cache.open(l1_capacity="1MiB", lease_ttl=0.15, l1_populate=False) as cache:
        chain = stored(cache)
        viewed, idle = cache.acquire(chain), cache.acquire(chain)
        view = viewed[0]
        deadline = time.monotonic() + 30
        while idle.valid and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not idle.valid and viewed.valid and bytes(view) == block(0)
        with pytest.raises(BufferError, match="ran out"):
            idle[0]
        assert not idle.renew(1)
        view.release()
        while viewed.valid and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not viewed.valid


def test_leased_blocks_are_not_overwritten(cache):
    chain = stored(cache)
    with cache.acquire(chain) as lease:
        for i in range(0, 4000, 100):
            cache.put(make_chain(100, first=100_000 + 4 * i), [block(7)] * 100)
        assert cache.stats().l1.evictions > 0
        assert bytes(lease[0]) == block(0) and bytes(lease[1]) == block(1) and lease.valid


READER = """
import sys, reprise
sys.path.insert(0, sys.argv[3])
from conftest import BLOCK, block, make_chain
with reprise.Cache.open(sys.argv[1]) as cache:
    out = bytearray(2 * BLOCK)
    assert cache.get(make_chain(2, first=7000), out).blocks == 2
    assert bytes(out) == block(0) + block(1)
    with cache.attach(bytes.fromhex(sys.argv[2])) as lease:
        assert lease.match is None and bytes(lease[1]) == block(1)
    cache.put(make_chain(3, first=7000), [block(2)], start=2)
print("read")
"""


def test_two_processes_share_one_daemon(daemon):
    with reprise.Cache.open(daemon) as cache:
        chain = stored(cache, first=7000)
        with cache.acquire(chain) as lease:
            ran = subprocess.run([sys.executable, "-c", READER, daemon, lease.token.hex(),
                                  __file__.rpartition("/")[0]], capture_output=True, text=True, timeout=60)
        assert ran.stdout == "read\n", ran.stderr
        out = bytearray(3 * BLOCK)
        assert cache.get(make_chain(3, first=7000), out).blocks == 3
        assert out[2 * BLOCK :] == block(2)


def test_another_salt_shares_nothing(any_cache):
    stored(any_cache, first=8000)
    assert any_cache.match(make_chain(2, make_namespace(salt="other"), first=8000)).blocks == 0
