"""Round trips, rules and misuse, against an embedded cache and against a daemon."""

import array
import datetime

import numpy as np
import pytest

import reprise
from reprise import MatchRule, Reason

from conftest import BLOCK, block, make_chain, make_namespace


def test_what_is_put_is_found_again(any_cache):
    chain = make_chain(4, first=1000)
    any_cache.erase(chain)
    assert any_cache.match(chain).blocks == 0
    stored = any_cache.put(chain, [block(i) for i in range(3)])
    assert (stored.accepted, stored.present, stored.declined, stored.declined_blocks) == (3, 0, 0, [])
    found = any_cache.match(chain)
    assert (found.blocks, found.from_l1, found.from_l2, found.reason) == (3, 3, 0, Reason.MISS)
    out = [bytearray(BLOCK) for _ in range(4)]
    assert any_cache.get(chain, out=out, timeout=10).blocks == 3
    assert [bytes(b) for b in out[:3]] == [block(i) for i in range(3)]
    assert any_cache.put(chain, [block(i) for i in range(4)]).present == 3
    assert any_cache.erase(chain) == 4
    assert any_cache.match(chain).blocks == 0


def test_one_buffer_holds_a_run_and_start_moves_it(any_cache):
    chain = make_chain(6, first=2000)
    data = np.arange(6 * BLOCK // 4, dtype=np.uint32)
    any_cache.put(chain, data)
    out = np.zeros(4 * BLOCK // 4, dtype=np.uint32)
    assert any_cache.get(chain, out, start=2).blocks == 4
    assert (out == data[2 * BLOCK // 4 :]).all()


class Tensor:
    """DLPack without the buffer protocol, as torch has it."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **more):
        return self.values.__dlpack__(**more)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


def test_tensors_come_and_go_by_dlpack(cache):
    chain = make_chain(2)
    data = np.arange(2 * BLOCK, dtype=np.uint16).astype(np.uint8)
    cache.put(chain, Tensor(data))
    out = np.zeros(2 * BLOCK, dtype=np.uint8)
    assert cache.get(chain, Tensor(out)).blocks == 2
    assert (out == data).all()
    with pytest.raises(ValueError, match=r"out\[0\].*not C-contiguous"):
        cache.get(chain, [Tensor(np.zeros((BLOCK, 2), dtype=np.uint8)[:, 0])])


def test_rules(cache):
    keys = make_chain(5).keys
    ns = make_namespace()
    cache.put(reprise.Chain(ns, keys), [block(i) for i in range(5)])
    cache.erase(reprise.Chain(ns, keys[1:2]))
    assert cache.match(reprise.Chain(ns, keys)).reason == Reason.HOLE
    assert cache.match(reprise.Chain(ns, keys, rule=MatchRule.last(2))).blocks == 5
    assert cache.match(reprise.Chain(ns, keys, rule=MatchRule.exact(3))).blocks == 4
    both = [reprise.Chain(ns, keys), reprise.Chain(ns, keys, rule=MatchRule.last(2))]
    assert cache.match(both).blocks == 1
    assert MatchRule.last(2) == MatchRule.last(2) != MatchRule.exact(2)


def test_reserve_fills_in_place(any_cache):
    chain = make_chain(2, first=3000)
    any_cache.erase(chain)
    with any_cache.reserve(chain) as places:
        for i, view in enumerate([places[0], places[1]]):
            view[:] = block(i)
            with pytest.raises(BufferError, match="live views"):
                places.commit()
            view.release()
            del view
        assert any_cache.match(chain).blocks == 0
        assert places.commit() == 2
        with pytest.raises(reprise.InvalidError, match="ended"):
            places.commit()
    out = [bytearray(BLOCK) for _ in range(2)]
    assert any_cache.get(chain, out).blocks == 2
    assert out == [bytearray(block(0)), bytearray(block(1))]
    with any_cache.reserve(chain) as places:
        assert places[0] is None  # present already


def test_keys_agree_however_they_are_made():
    tokens = list(range(10))
    keys = reprise.block_keys(tokens, 4)
    assert [len(k) for k in keys] == [16, 16]
    for form in (array.array("I", tokens), np.array(tokens, dtype=np.int64), np.array(tokens, dtype=np.uint32),
                 tuple(tokens), Tensor(np.array(tokens, dtype=np.int32))):
        assert reprise.block_keys(form, 4) == keys
    growing = reprise.KeyChain(4)
    growing.append(tokens[:3])
    growing.append(tokens[3:])
    assert growing.keys == keys and growing.tail == [8, 9] and len(growing) == 2
    ns = make_namespace()
    assert reprise.Chain.from_tokens(ns, tokens).keys == reprise.Chain(ns, b"".join(keys)).keys == keys
    assert reprise.block_keys(tokens, 4, reprise.KeyScheme.XXH3) != keys
    assert len(reprise.key_from_hash("sha256", b"x" * 32)) == 16
    with pytest.raises(reprise.DeniedError, match="collide"):
        reprise.key_from_hash("xxh64", b"x" * 8)


@pytest.mark.parametrize(
    ("blocks", "error", "words"),
    [
        ([bytes(BLOCK - 1)], ValueError, r"blocks\[0\] has 4095 bytes; block_bytes is 4096"),
        (bytes(BLOCK + 1), ValueError, "4097 bytes are not whole blocks of block_bytes = 4096"),
        ([memoryview(bytes(2 * BLOCK))[::2]], ValueError, r"blocks\[0\].*4096 bytes is not C-contiguous"),
        ([7], TypeError, r"blocks\[0\]: 'int' has neither the buffer protocol nor DLPack"),
        (7, TypeError, "expected a sequence of buffers, or one buffer, not 'int'"),
        ([block(0)] * 3, reprise.InvalidError, "."),
    ],
)
def test_wrong_blocks_are_named(cache, blocks, error, words):
    with pytest.raises(error, match=words):
        cache.put(make_chain(2), blocks)


def test_misuse_is_named(cache):
    chain = make_chain(1)
    with pytest.raises(ValueError, match=r"out\[0\].*read-only; it must be writable"):
        cache.get(chain, [bytes(BLOCK)])
    with pytest.raises(TypeError, match="expected a Chain or a sequence of them, not 'int'"):
        cache.match(7)
    with pytest.raises(ValueError, match="at least one Chain"):
        cache.match([])
    with pytest.raises(ValueError, match=r"tokens\[1\] is -1"):
        reprise.block_keys([1, -1], 2)
    with pytest.raises(ValueError, match=r"tokens\[1\] is 4294967296"):
        reprise.block_keys(np.array([1, 2**32]), 2)
    with pytest.raises(ValueError, match="32- or 64-bit integers"):
        reprise.block_keys(np.zeros(4), 2)
    with pytest.raises(ValueError, match=r"keys\[0\] has 3 bytes; a key has 16"):
        reprise.Chain(make_namespace(), [b"abc"])
    with pytest.raises(reprise.InvalidError, match="block_tokens") as caught:
        make_namespace(block_tokens=0)
    assert caught.value.code is reprise.ErrorCode.INVALID and isinstance(caught.value, reprise.Error)
    with pytest.raises(TypeError):
        reprise.Namespace(model="m")
    with pytest.raises(reprise.DeniedError):
        cache.attach(bytes(16))
    cache.close()
    with pytest.raises(reprise.InvalidError, match="the cache is closed"):
        cache.match(chain)


def test_options():
    with pytest.raises(TypeError, match="no option 'l1_capacty'.*did you mean 'l1_capacity'"):
        reprise.Cache.open(l1_capacty=1)
    with pytest.raises(TypeError, match="no option 'listen_unix'"):
        reprise.Cache.open(listen_unix="x")
    with pytest.raises(reprise.ConfigError, match="lease_ttl"):
        reprise.Cache.open(lease_ttl=datetime.timedelta(milliseconds=1))
    with pytest.raises(reprise.ConfigError, match="nothing:"):
        reprise.Cache.open("nothing:")
    with pytest.raises(TypeError, match="l1_policy"):
        reprise.Cache.open(l1_policy=None)
    with reprise.Cache.open(l1_capacity=1 << 20, lease_ttl=datetime.timedelta(seconds=2), l1_populate=False) as cache:
        assert cache.stats().l1.capacity_bytes == 1 << 20


def test_stats_count(cache):
    cache.put(make_chain(2), [block(0), block(1)])
    cache.get(make_chain(3), [bytearray(BLOCK)] * 1)
    stats = cache.stats()
    assert (stats.l1.name, stats.l1.blocks, stats.l1.used_bytes, stats.leases) == ("l1", 2, 2 * BLOCK, 0)
    assert set(stats.reasons) == set(Reason)


def test_objects_say_what_they_are(cache):
    chain = make_chain(3, first=3000)
    cache.put(chain, [block(i) for i in range(3)])
    assert repr(cache) == "<reprise.Cache 'embedded:'>"
    lease = cache.acquire(chain)
    assert repr(lease) == "<reprise.Lease of 3 blocks>"
    lease.release()
    assert "released" in repr(lease)
    assert "blocks=3" in repr(cache.stats().l1)
    assert repr(cache.stats().l1) in repr(cache.stats())
    with reprise.Cache.open("embedded:", l1_capacity="1MiB", l1_populate=False) as other:
        pass
    assert repr(other) == "<reprise.Cache 'embedded:', closed>"


def test_disk_tier_behind_memory(tmp_path):
    url = f"disk:{tmp_path}/tier?capacity=320MiB"
    chain = make_chain(3)
    with reprise.Cache.open(l1_capacity="1MiB", l2_url=url, l1_populate=False) as cache:
        cache.put(chain, [block(i) for i in range(3)])
        assert cache.flush(timeout=60)
    with reprise.Cache.open(l1_capacity="1MiB", l2_url=url, l1_populate=False) as cache:
        out = [bytearray(BLOCK) for _ in range(3)]
        found = cache.get(chain, out, timeout=60)
        assert (found.blocks, found.from_l2) == (3, 3)
        assert out[2] == block(2)
