"""Workloads through the API of `aibrix_kvcache`: the same calls for the original and for the drop-in."""

from __future__ import annotations

import importlib.util
import os
import time
from typing import Any

from shapes import Shape, block_hashes, prompt


class AibrixWork:
    """One manager with L1 alone, and rounds on it. `keys` is "tokens" or "hashes"."""

    def __init__(self, shape: Shape, keys: str) -> None:
        os.environ["AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB"] = repr(shape.capacity / 2**30)
        import torch

        from aibrix_kvcache import (
            BaseKVCacheManager,
            KVCacheBlockLayout,
            KVCacheBlockSpec,
            KVCacheConfig,
            KVCacheTensorSpec,
            ModelSpec,
            cache_manager,
        )

        torch.set_num_threads(1)
        if importlib.util.find_spec("reprise") is None:
            cache_manager.TESTING_DISABLE_PIN_MEMORY = True  # As its own tests do: pinning needs a GPU's driver.
        head_size = shape.block_bytes // (2 * shape.block_tokens * torch.float16.itemsize)
        tensors = KVCacheTensorSpec(heads=[0], layers=[0], head_size=head_size)
        self._spec = KVCacheBlockSpec(shape.block_tokens, torch.float16, KVCacheBlockLayout.LCND, tensors)
        assert self._spec.block_nbytes == shape.block_bytes
        self._shape = shape
        self._hashed = keys == "hashes"
        self._next_seed = shape.prompts
        self.cache = BaseKVCacheManager(KVCacheConfig(self._spec, ModelSpec(max(shape.tokens, 4096))))
        self._buffers: list[Any] = []

    def close(self) -> None:
        self.cache.close()

    def _source(self, seed: int) -> Any:
        """What an engine has before it asks."""
        return block_hashes(self._shape, seed) if self._hashed else prompt(self._shape, seed)

    def _key(self, source: Any) -> Any:
        from aibrix_kvcache import BlockHashes, TokenListView

        return BlockHashes(source, self._shape.block_tokens) if self._hashed else TokenListView(source)

    def fill(self) -> None:
        """Stores the prompts that the reads are about."""
        for seed in range(self._shape.prompts):
            self._put(self._source(seed), value=seed + 1)

    def _put(self, source: Any, value: float | None = None) -> int:
        done = 0
        for prefix, chunk, _, _ in self.cache.cache_chunk_keys(None, self._key(source)):
            handle = self.cache.allocate_for(prefix, chunk).get()
            if value is not None:
                for tensor in handle.to_tensors():
                    tensor.fill_(value)
            done += self.cache.put(prefix, chunk, handle).get()
        return done

    def put(self) -> float:
        """Seconds to store a prompt nobody has stored yet. The blocks are not written to."""
        source = self._source(self._next_seed)
        self._next_seed += 1
        start = time.perf_counter()
        done = self._put(source)
        took = time.perf_counter() - start
        assert done == self._shape.tokens, f"{done} tokens of {self._shape.tokens} were stored"
        return took

    def acquire(self, tensors: bool = False) -> float:
        """Seconds to acquire and release a prompt chunk by chunk, beginning with the engine's own list."""
        source, found = self._source(0), 0
        start = time.perf_counter()
        for prefix, chunk, _, _ in self.cache.cache_chunk_keys(None, self._key(source)):
            ntokens, handle = self.cache.acquire(prefix, chunk).get()
            if tensors:
                handle.to_tensors()
            found += ntokens
            handle.release()
        took = time.perf_counter() - start
        assert found == self._shape.tokens, f"{found} tokens of {self._shape.tokens} were found"
        return took

    def acquire_tensors(self) -> float:
        """The same, and a tensor of every block."""
        return self.acquire(tensors=True)

    def _handle(self, buffer: Any) -> Any:
        from aibrix_kvcache import MemoryRegionKVCacheHandle

        select = [(0, i) for i in range(self._shape.blocks)]
        return MemoryRegionKVCacheHandle.create([buffer], self._spec, select)

    def _targets(self) -> list[Any]:
        import torch

        if not self._buffers:
            size = (self._shape.blocks, *self._spec.block_shape)
            self._buffers = [torch.zeros(size, dtype=torch.float16) for _ in range(self._shape.prompts)]
        return self._buffers

    def get(self) -> float:
        """Seconds to copy every prompt into memory of the caller's with get."""
        work = [(self._key(self._source(seed)), self._handle(to)) for seed, to in enumerate(self._targets())]
        start = time.perf_counter()
        found = [self.cache.get(None, key, handle).get() for key, handle in work]
        took = time.perf_counter() - start
        assert found == [self._shape.tokens] * self._shape.prompts, f"{found} tokens were found"
        self._check()
        return took

    def acquire_copy(self) -> float:
        """The same with acquire and a copy of every tensor."""
        import numpy as np

        work = [(self._key(self._source(seed)), to.numpy()) for seed, to in enumerate(self._targets())]
        start = time.perf_counter()
        for key, to in work:
            _, handle = self.cache.acquire(None, key).get()
            for block, tensor in zip(to, handle.to_tensors(), strict=True):
                np.copyto(block, tensor.numpy())
            handle.release()
        took = time.perf_counter() - start
        self._check()
        return took

    def _check(self) -> None:
        for seed, target in enumerate(self._targets()):
            assert float(target[0].min()) == float(target[-1].max()) == seed + 1, f"prompt {seed} has other bytes"
            target[0].zero_()
            target[-1].zero_()
