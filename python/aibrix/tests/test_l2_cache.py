"""Blocks by prefix and query in a connector."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aibrix_kvcache.cache_hashable import BlockHashes, TokenListView
from aibrix_kvcache.l2 import KeyBuilder, L2Cache
from aibrix_kvcache.l2.connectors import Connector, ConnectorFeature
from aibrix_kvcache.memory import ManagedMemoryRegion, TensorPoolAllocator, memory_region
from aibrix_kvcache.metrics import L2CacheMetrics
from aibrix_kvcache.spec import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec
from aibrix_kvcache.status import Status, StatusCodes

SPEC = KVCacheBlockSpec(16, torch.float16, KVCacheBlockLayout.NCLD, KVCacheTensorSpec([0, 1], [0], 4))
NBYTES = SPEC.block_nbytes
TOKENS = TokenListView(list(range(200)))


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def new(executor, backend="MOCK", **more):
    cache = L2Cache(backend, "SIMPLE", "aibrix", SPEC, executor, **more)
    cache.open().raise_if_not_ok()
    return cache


def regions(count, first=None, nbytes=NBYTES):
    got = TensorPoolAllocator.create(capacity_nbytes=count * (nbytes + 16)).alloc([nbytes] * count).get()
    for index, region in enumerate(got):
        region.fill(bytes([0 if first is None else first + index]) * nbytes)
    return got


def patterns(mrs):
    return [mr.tobytes()[0] for mr in mrs]


@pytest.mark.parametrize("builder", [None, "ROLLING_HASH", "SIMPLE_HASH", "RAW"])
def test_round_trip(executor, builder):
    async def run():
        metrics = L2CacheMetrics(cache_type="L2Cache", block_ntokens=16)
        key_builder = KeyBuilder.create(builder, block_size=16) if builder else None
        cache = new(executor, key_builder=key_builder, metrics=metrics)
        prefix, query = TOKENS[:32], TOKENS[32:104]
        assert (await cache.get(prefix, query, regions(4))).is_not_found()
        assert (await cache.put(prefix, query, regions(4, 1))).get() == 4
        into = regions(4)
        assert (await cache.get(prefix, query, into)).get() == 4 and patterns(into) == [1, 2, 3, 4]
        assert (await cache.exists(TOKENS[:48], TOKENS[48:])).get() == 3
        assert (await cache.exists(None, query)).is_not_found()
        assert (await cache.delete(TOKENS[:48], TOKENS[48:64])).is_ok()
        into = regions(4)
        assert (await cache.get(prefix, query, into)).get() == 1, "what lies behind a gap does not count"
        assert (await cache.put(prefix, query[:16], regions(1, 9)[0])).get() == 1, "one region"
        assert metrics.num_tokens_hit == (4 + 1) * 16 and metrics.put_metrics.num_ops == 2
        cache.flush().raise_if_not_ok()
        cache.close().raise_if_not_ok()

    asyncio.run(run())


def test_arguments(executor):
    async def run():
        cache = new(executor)
        for call in (cache.exists, cache.delete):
            assert (await call(TOKENS[:8], TOKENS[8:40])).is_invalid()
        assert (await cache.put(TOKENS[:8], TOKENS[8:40], regions(2))).is_invalid()
        assert (await cache.put(None, TOKENS[:32], regions(1))).is_invalid()
        assert (await cache.exists(None, TOKENS[:15])).is_not_found()
        assert (await cache.delete(None, TOKENS[:15])).is_ok()
        with pytest.raises(AssertionError, match="1 regions for 2 blocks"):
            await cache.get(None, TOKENS[:32], regions(1))
        assert (await cache.acquire(None, TOKENS)).error_code is StatusCodes.ERROR
        cache.close()

    asyncio.run(run())


def test_block_hashes(executor):
    async def run():
        cache = new(executor)
        hashes = BlockHashes([f"hash{n}" for n in range(6)], 8)
        assert (await cache.put(None, hashes[:32], regions(2, 1))).get() == 2
        assert (await cache.exists(hashes[:16], hashes[16:])).get() == 1
        cache.close()

    asyncio.run(run())


def test_other_models_and_dtypes_do_not_meet(executor, monkeypatch, tmp_path):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_SHFS_ROOT", str(tmp_path))

    async def run():
        first = new(executor, "SHFS")
        await first.put(None, TOKENS[:32], regions(2, 1))
        same = new(executor, "SHFS")
        assert (await same.exists(None, TOKENS[:32])).get() == 2
        monkeypatch.setenv("AIBRIX_KV_CACHE_OL_MODEL", "other")
        stranger = new(executor, "SHFS")
        assert (await stranger.exists(None, TOKENS[:32])).is_not_found()
        for cache in (first, same, stranger):
            cache.close()

    asyncio.run(run())


class Own(Connector):
    """A connector of a user's: block by block, with faults on demand."""

    name, feature = "OWN", ConnectorFeature()

    def __init__(self):
        self.data, self.late, self.asked, self.refuse = {}, [], 0, set()

    @classmethod
    def from_envs(cls, conn_id, executor, **kwargs):
        return cls()

    def open(self):
        return Status.ok()

    close = open

    async def exists(self, key):
        self.asked += 1
        return Status.ok() if key in self.data else Status.error(StatusCodes.NOT_FOUND)

    async def get(self, key, mr):
        self.asked += 1
        if key not in self.data:
            return Status.error(StatusCodes.NOT_FOUND)
        if self.data[key] is None:
            self.late.append(mr)
            await asyncio.sleep(60)
        mr.fill(self.data[key])
        return Status.ok()

    async def put(self, key, mr):
        self.asked += 1
        if len(self.data) in self.refuse:
            return Status.error(StatusCodes.DENIED, "full")
        self.data[key] = mr.tobytes()
        return Status.ok()

    async def delete(self, key):
        return Status.ok()


@pytest.fixture
def own(monkeypatch, executor):
    monkeypatch.setattr(Connector, "create", staticmethod(lambda config, **kwargs: Own()))
    cache = L2Cache("OWN", "SIMPLE", "aibrix", SPEC, executor, op_batch=2)
    return cache, cache._backend


def test_batches_stop_at_the_first_short_one(own):
    async def run():
        cache, backend = own
        assert (await cache.put(None, TOKENS[:128], regions(8, 1))).get() == 8
        del backend.data[list(backend.data)[3]]
        backend.asked = 0
        into = regions(8)
        assert (await cache.get(None, TOKENS[:128], into)).get() == 3
        assert backend.asked == 4 and patterns(into) == [1, 2, 3, 0, 0, 0, 0, 0], "the rest was not even asked for"
        assert (await cache.exists(None, TOKENS[:128])).get() == 3

    asyncio.run(run())


def test_a_put_that_fails_says_so(own):
    async def run():
        cache, backend = own
        backend.refuse = {0}
        status = await cache.put(None, TOKENS[:64], regions(4, 1))
        assert status.is_denied() and status.value == "full"
        backend.refuse = {3}
        backend.data.clear()
        assert (await cache.put(None, TOKENS[:64], regions(4, 1))).get() == 3

    asyncio.run(run())


def test_a_late_read_harms_nobody(own, monkeypatch):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_L2_CACHE_PER_TOKEN_TIMEOUT_MS", "1")

    async def run():
        cache, backend = own
        await cache.put(None, TOKENS[:32], regions(2, 1))
        for key in backend.data:
            backend.data[key] = None
        into = regions(2)
        assert (await cache.get(None, TOKENS[:32], into)).is_timeout()
        for mr in backend.late:
            mr.fill(b"\xff" * NBYTES)
        assert patterns(into) == [0, 0]

    asyncio.run(run())


def test_tokens_behind_the_blocks(executor, monkeypatch):
    monkeypatch.setattr(memory_region, "MR_USE_COMPACT_LAYOUT", False)
    nbytes = ManagedMemoryRegion.calculate_size(NBYTES, 96)

    def packed(count, first=None):
        mrs = regions(count, first, nbytes)
        for mr in mrs:
            mr.block_nbytes = NBYTES
        return mrs

    async def run():
        cache = new(executor)
        prefix, query = TOKENS[:32], TOKENS[32:80]
        assert (await cache.put(prefix, query, packed(3, 1))).get() == 3
        into = packed(3)
        assert (await cache.get(prefix, query, into)).get() == 3 and patterns(into) == [1, 2, 3]
        monkeypatch.setattr(cache, "_split", lambda *args: (None, TOKENS[:16]))
        assert (await cache.get(prefix, query, packed(3))).is_not_found(), "the tokens of another block"
        cache.close()

    asyncio.run(run())
