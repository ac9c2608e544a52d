"""The same workloads through `reprise.Cache` itself: one call for a prompt, as it is meant to be used."""

from __future__ import annotations

import time
from typing import Any

from shapes import Shape, block_hashes, prompt

import reprise


class NativeWork:
    """An embedded cache, and rounds on it. `keys` is "tokens" or "hashes"."""

    def __init__(self, shape: Shape, keys: str) -> None:
        self._shape = shape
        self._hashed = keys == "hashes"
        self._next_seed = shape.prompts
        self._ns = reprise.Namespace(
            model="bench", revision="none", dtype="float16", layout="opaque", block_tokens=shape.block_tokens,
            block_bytes=shape.block_bytes, layers=range(1), heads=range(1), salt="",
        )  # fmt: skip
        self.cache = reprise.Cache.open("embedded:", l1_capacity=shape.capacity, l1_policy="s3fifo")
        self._buffers: list[Any] = []

    def close(self) -> None:
        self.cache.close()

    def _source(self, seed: int) -> Any:
        return block_hashes(self._shape, seed) if self._hashed else prompt(self._shape, seed)

    def _chain(self, source: Any) -> reprise.Chain:
        if self._hashed:
            return reprise.Chain(self._ns, reprise.keys_from_hashes("sha256", source))
        return reprise.Chain.from_tokens(self._ns, source)

    def fill(self) -> None:
        for seed in range(self._shape.prompts):
            blocks = [bytes([seed + 1]) * self._shape.block_bytes] * self._shape.blocks
            self.cache.put(self._chain(self._source(seed)), blocks)

    def put(self) -> float:
        source = self._source(self._next_seed)
        self._next_seed += 1
        start = time.perf_counter()
        with self.cache.reserve(self._chain(source)) as reservation:
            done = reservation.commit()
        took = time.perf_counter() - start
        assert done == self._shape.blocks, f"{done} blocks of {self._shape.blocks} were stored"
        return took

    def acquire(self) -> float:
        source = self._source(0)
        start = time.perf_counter()
        with self.cache.acquire(self._chain(source)) as lease:
            found = len(lease)
        took = time.perf_counter() - start
        assert found == self._shape.blocks, f"{found} blocks of {self._shape.blocks} were found"
        return took

    def _targets(self) -> list[Any]:
        import numpy as np

        if not self._buffers:
            size = (self._shape.blocks, self._shape.block_bytes)
            self._buffers = [np.full(size, 255, np.uint8) for _ in range(self._shape.prompts)]
        return self._buffers

    def get(self) -> float:
        work = [(self._chain(self._source(seed)), to) for seed, to in enumerate(self._targets())]
        start = time.perf_counter()
        found = [self.cache.get(chain, to).blocks for chain, to in work]
        took = time.perf_counter() - start
        assert found == [self._shape.blocks] * self._shape.prompts, f"{found} blocks were found"
        return took
