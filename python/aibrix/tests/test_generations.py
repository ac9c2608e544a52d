"""One small engine in the style of each generation of the API: what a program written for it may rely on."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from rig import AMPLE, BLOCK_NBYTES, content, data_of, environment, gib

NTOKENS = 4


def _computed(tokens: list[int], block: int) -> torch.Tensor:
    """What a model would compute for that block: bytes that follow from all tokens up to its end."""
    data = np.frombuffer(content(tuple(tokens[: (block + 1) * NTOKENS]), BLOCK_NBYTES), np.uint8)
    return torch.from_numpy(data.copy()).view(torch.float32)


class OldEngine:
    """0.3.0: plain sequences of ints, `tokens=`, `allocate(nblocks)`, a configuration of the block alone."""

    def __init__(self) -> None:
        from aibrix_kvcache import (
            BaseKVCacheManager,
            KVCacheBlockLayout,
            KVCacheBlockSpec,
            KVCacheConfig,
            KVCacheTensorSpec,
        )

        tensor_spec = KVCacheTensorSpec(heads=[0, 1], layers=[0, 1], head_size=4)
        block_spec = KVCacheBlockSpec(
            block_ntokens=NTOKENS,
            block_dtype=torch.float32,
            block_layout=KVCacheBlockLayout.NCLD,
            tensor_spec=tensor_spec,
        )
        self.spec = block_spec
        self.cache = BaseKVCacheManager(KVCacheConfig(block_spec))

    def prefill(self, tokens: list[int]) -> int:
        """Tokens that had not to be computed. Checks what the cache says; stores what was computed."""
        reused = self.load(tokens)
        missing = (len(tokens) - reused) // NTOKENS
        done = 0
        while done < missing:
            status = self.cache.allocate(missing - done)
            assert status.is_ok(), status
            handle = status.get()
            first = reused // NTOKENS + done
            for i, tensor in enumerate(handle.to_tensors()):
                assert tensor.shape == self.spec.block_shape
                tensor.flatten().copy_(_computed(tokens, first + i))
            put = self.cache.put(
                prefix=tuple(tokens[: first * NTOKENS]),
                tokens=tuple(tokens[first * NTOKENS : (first + len(handle)) * NTOKENS]),
                kv_tensors=handle,
            )
            assert put.is_ok(), put
            assert put.get() == len(handle) * NTOKENS
            done += len(handle)
        return reused

    def load(self, tokens: list[int]) -> int:
        found = 0
        for prefix, chunk, following, whole in self.cache.cache_chunk_keys(None, tokens):
            assert (*prefix, *chunk) == tuple(tokens[: len(prefix) + len(chunk)])
            assert whole == tuple(tokens) and isinstance(following, tuple)
            if following:
                self.cache.prefetch((*prefix, *chunk), following)
            status = self.cache.acquire(prefix=prefix, tokens=chunk)
            if status.is_not_found():
                break
            assert status.is_ok(), status
            length, handle = status.value
            for i, tensor in enumerate(handle.to_tensors()):
                assert torch.equal(tensor.flatten(), _computed(tokens, len(prefix) // NTOKENS + i))
            handle.release()
            found += length
            if length < len(chunk):
                break
        return found


def test_an_engine_of_the_first_generation(caplog):
    env = {"L1_CACHE_CAPACITY_GB": gib(AMPLE), "L1_CACHE_EVICT_SIZE": 16, "L1_CACHE_EVICTION_POLICY": "LRU"}
    with environment(CHUNK_SIZE=16, **env), caplog.at_level(logging.WARNING):
        engine = OldEngine()
        assert "L1_CACHE_EVICT_SIZE is set and has no effect" in caplog.text
        cache = engine.cache
        first, second = list(range(50)), [*range(32), *range(100, 121)]
        assert engine.prefill(first) == 0
        assert engine.prefill(first) == 48
        assert engine.prefill(second) == 32
        assert engine.prefill(second) == 52
        assert cache.exists(prefix=None, tokens=first).get() == 48
        assert cache.exists(first[:8], first[8:]).get() == 40
        assert cache.exists([], np.asarray(second, np.int64)).get() == 52
        assert cache.delete(prefix=first[:16], tokens=first[16:20]).is_ok()
        assert cache.exists(prefix=[], tokens=first).get() == 16
        assert cache.exists(prefix=first[:20], tokens=first[20:]).get() == 28
        assert cache.flush().is_ok()
        assert cache.metrics.summary()
        assert cache.chunk_size == 16
        cache.close()


def test_an_engine_of_the_first_generation_with_l2():
    env = {"L1_CACHE_CAPACITY_GB": gib(4 * BLOCK_NBYTES), "L2_CACHE_BACKEND": "MOCK", "DOUBLE_GET_THRESHOLD": "0"}
    with environment(CHUNK_SIZE=16, L2_CACHE_INGESTION_TYPE="ALL", **env):
        engine = OldEngine()
        tokens = list(range(70))
        assert engine.prefill(tokens) == 0
        assert engine.prefill(tokens) == 68
        engine.cache.close()


class NewEngine:
    """0.8.0: views, `ModelSpec`, `allocate_for`, `get` into memory of the engine, keys of two kinds."""

    def __init__(self, layout: str) -> None:
        from aibrix_kvcache import BaseKVCacheManager, KVCacheConfig, ModelSpec
        from aibrix_kvcache.spec import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec

        tensor_spec = KVCacheTensorSpec(heads=[0, 1], layers=[0, 1], head_size=4)
        self.spec = KVCacheBlockSpec(NTOKENS, torch.float32, KVCacheBlockLayout[layout], tensor_spec)
        config = KVCacheConfig(block_spec=self.spec, model_spec=ModelSpec(1024, 256), multi_threaded=True)
        self.cache = BaseKVCacheManager(config)
        assert not self.cache.feature.gdr_get and not self.cache.feature.gdr_put
        self.pages = [torch.zeros(self.spec.block_shape) for _ in range(16)]
        assert self.cache.register_kvcache(self.pages).is_ok()

    def store(self, tokens: list[int]) -> int:
        """Tokens of blocks that were not there yet, all written where the cache keeps them."""
        from aibrix_kvcache import TokenListView

        whole = TokenListView(tokens)
        known = self.cache.exists(None, whole).get(default=0)
        prefix, query = whole[:known], whole[known:]
        if len(query) < self.cache.block_size:
            return 0
        handle = self.cache.allocate_for(prefix, query).get()
        for i, tensor in enumerate(handle.to_tensors()):
            tensor.flatten().copy_(_computed(tokens, known // NTOKENS + i))
        status = self.cache.put(prefix, query[: len(handle) * NTOKENS], handle)
        status.raise_if_not_ok()
        return status.get()

    def load(self, tokens: list[int]) -> int:
        """Into pages of the engine, in the middle of them."""
        from aibrix_kvcache import KVCacheKey, MemoryRegionKVCacheHandle, TokenListView

        freed = []
        select = [(i, 0) for i in (3, 1, 2, 5, 4, 7, 6, 0)]
        handle = MemoryRegionKVCacheHandle.create(
            self.pages, self.spec, select, on_mr_release=lambda slab, addr, length: freed.append((addr, length))
        )
        found = self.cache.get(cache_key=KVCacheKey(None, TokenListView(tokens)), kv_tensors=handle)
        handle.release()
        assert freed == [(0, BLOCK_NBYTES)] * len(select)
        for block in range(found.get(default=0) // NTOKENS):
            page = self.pages[select[block][0]]
            assert torch.equal(page.flatten(), _computed(tokens, block))
        return found.get(default=0)


@pytest.mark.parametrize("layout", ["NCLD", "LCND"])
def test_an_engine_of_the_second_generation(layout):
    from aibrix_kvcache import BlockHashes, Status, StatusCodes, TokenListView

    with environment(L1_CACHE_CAPACITY_GB=gib(AMPLE), CHUNK_SIZE=16):
        engine = NewEngine(layout)
        cache = engine.cache
        tokens = list(range(30))
        assert engine.load(tokens) == 0
        assert engine.store(tokens) == 28
        assert engine.store(tokens) == 0
        assert engine.load(tokens) == 28
        assert engine.load(list(range(40))) == 28
        assert engine.store(list(range(40))) == 12

        whole = TokenListView(range(40))
        chunks = list(cache.cache_chunk_keys(whole[:4], whole[4:]))
        assert [(len(prefix), len(chunk)) for prefix, chunk, _, _ in chunks] == [(4, 16), (20, 16), (36, 4)]
        assert [None if following is None else len(following) for _, _, following, _ in chunks] == [16, None, None]
        status = cache.acquire(whole[:4], whole[4:])
        assert isinstance(status, Status) and status.error_code is StatusCodes.OK
        length, handle = status.get()
        assert (length, len(handle)) == (36, 9)
        handle.truncate(2)
        assert [data_of(tensor) for tensor in handle.to_tensors()] == [content(tuple(range(n))) for n in (8, 12)]
        handle.release()

        hashes = BlockHashes([f"{n:064x}" for n in range(5)], NTOKENS)
        handle = cache.allocate_for(None, hashes).get()
        for i, tensor in enumerate(handle.to_tensors()):
            tensor.fill_(i)
        assert cache.put(None, hashes, handle).get() == 20
        assert cache.exists(hashes[:8], hashes[8:]).get() == 12
        assert cache.delete(None, hashes[:4]).is_ok()
        assert cache.exists(None, hashes).is_not_found()
        cache.close()
