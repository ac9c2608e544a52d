"""L1 in Python, for eviction policies written in Python; behind it a cache of the core that has L2 alone.

One lock guards policy and index, and the GIL is held before it is taken. The core never calls Python: what flows to L2
is handed over by the thread whose call was the cause, after that lock was let go. Slow: some 20 us a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import reprise
from reprise import Reason

from .. import envs
from ..block_keys import split_keys
from ..cache_handle import KVCacheHandle, MemoryRegionKVCacheHandle
from ..chains import Blocks
from ..config import KVCacheConfig
from ..l1 import L1Cache
from ..memory import MemoryRegion, TensorPoolAllocator
from ..namespaces import namespace_of
from .buffers import buffers_of, copy_bytes, writable_buffers
from .native import NativeTiers
from .settings import seconds_per_block
from .tiers import Answer, worth_asking_l2

_STAGING_BLOCKS = 64  # Handles that are being filled, when all of L1 is in use.


class PolicyTiers:
    """`Tiers` over `L1Cache`. ValueError for TOKEN_VALIDATION, which a policy's callbacks have no tokens for."""

    has_l1 = True

    def __init__(self, config: KVCacheConfig, *, capacity: int, policy: str, url: str) -> None:
        if envs.AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED:
            raise ValueError(
                f"AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED does not work with {policy}, an eviction policy in Python"
            )
        self.has_l2 = url != ""
        self._l2 = NativeTiers(config, None, capacity=0, policy="lru", url=url) if url else None
        self._namespace = namespace_of(config, 0)
        self._config = config
        self._spec = config.block_spec
        self._threshold = envs.AIBRIX_KV_CACHE_OL_DOUBLE_GET_THRESHOLD
        self._capacity = capacity
        self._what = f"L1 {policy} (in Python) {capacity} bytes" + (f", L2 {url}" if url else ", no L2")
        nbytes = self._spec.block_nbytes
        allocator = TensorPoolAllocator.create(capacity_nbytes=capacity + _STAGING_BLOCKS * nbytes)
        self._l1 = L1Cache(policy, capacity, allocator, self._spec)
        if self._l2 is not None:
            self._ingest_on(envs.AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_TYPE)

    def _ingest_on(self, what: str) -> None:
        watch: dict[str, Callable[[Callable[[bytes, MemoryRegion], None]], None]] = {
            "ALL": self._l1.set_on_put_callback,
            "HOT": self._l1.set_on_hot_access_callback,
            "EVICTED": self._l1.set_on_evict_callback,
        }
        watch[what](self._to_l2)

    def _to_l2(self, key: bytes, region: MemoryRegion) -> None:
        assert self._l2 is not None
        try:
            self._l2.cache.put(reprise.Chain(self._namespace, key), [region.numpy()])
        finally:
            region.ref_down()

    def exists(self, blocks: Blocks, timeout_per_block: float) -> Answer:
        found = self._l1.exists_keys(split_keys(blocks.keys))
        if self._l2 is None or not worth_asking_l2(self._threshold, blocks.length - found, blocks.length):
            return Answer(found, found, 0, _reason(found, blocks))
        more = self._l2.exists(blocks.after(found), timeout_per_block)
        return Answer(found + more.blocks, found, more.from_l2, more.reason, True)

    def acquire(self, blocks: Blocks, timeout_per_block: float) -> tuple[MemoryRegionKVCacheHandle | None, Answer]:
        keys = split_keys(blocks.keys)
        regions = self._l1.acquire_keys(keys)
        found = len(regions)
        answer = Answer(found, found, 0, _reason(found, blocks))
        if self._l2 is not None and worth_asking_l2(self._threshold, blocks.length - found, blocks.length):
            try:
                rest, more = self._l2.acquire(blocks.after(found), timeout_per_block)
            except BaseException:
                for region in regions:
                    region.ref_down()
                raise
            answer = Answer(found, found, 0, more.reason, True)
            if rest is not None:
                regions += self._bring_up(keys[found : found + len(rest)], rest)
                rest.release()
                answer = answer._replace(blocks=len(regions), from_l2=len(regions) - found)
        if not regions:
            return None, answer
        handle = MemoryRegionKVCacheHandle(self._spec.block_dtype, self._spec.block_shape, regions)
        handle.writable = False
        return handle, answer

    def _bring_up(self, keys: Sequence[bytes], source: MemoryRegionKVCacheHandle) -> list[MemoryRegion]:
        """Copies blocks into L1; answers regions with a reference for the caller, fewer if there is no room."""
        status = self._l1.allocate([self._spec.block_nbytes] * len(keys))
        regions = list(status.get([]))
        for target, origin in zip(regions, source.memory_regions, strict=False):
            target.copy(origin)
            target.ref_up()
        if regions:
            self._l1.put_keys(keys[: len(regions)], regions)
        return regions

    def copy_out(self, blocks: Blocks, into: Sequence[MemoryRegion], timeout_per_block: float) -> Answer:
        writable_buffers(into, self._spec.block_nbytes)  # For its check.
        handle, answer = self.acquire(blocks.first(len(into)), timeout_per_block)
        if handle is not None:
            try:
                for source, target in zip(handle.memory_regions, into, strict=False):
                    copy_bytes(source, target)
            finally:
                handle.release()
        return answer

    def allocate(self, blocks: Blocks) -> tuple[MemoryRegionKVCacheHandle | None, Reason]:
        status = self._l1.allocate([self._spec.block_nbytes] * blocks.length)
        if not status.is_ok():
            return None, Reason.FULL
        return MemoryRegionKVCacheHandle(self._spec.block_dtype, self._spec.block_shape, status.get()), Reason.NONE

    def store(self, blocks: Blocks, handle: KVCacheHandle) -> tuple[int, Reason]:
        blocks = blocks.first(len(handle))
        keys = split_keys(blocks.keys)
        if isinstance(handle, MemoryRegionKVCacheHandle):
            buffers_of(handle, self._spec.block_nbytes)  # For its check.
            regions = handle.take()
            for surplus in regions[len(keys) :]:
                surplus.ref_down()
            kept = self._l1.put_keys(keys, regions[: len(keys)])
        else:
            kept = self._store_copies(keys, handle)
        if self._l2 is not None:
            self._l2.wait_if_asked_to()
            if kept < len(keys):  # Leading blocks may have made room for later ones, and be in L2.
                kept = self.exists(blocks, seconds_per_block(self._config)).blocks
        return kept, Reason.NONE if kept == len(keys) else Reason.FULL

    def _store_copies(self, keys: Sequence[bytes], handle: KVCacheHandle) -> int:
        try:
            payloads = buffers_of(handle, self._spec.block_nbytes)
            regions = list(self._l1.allocate([self._spec.block_nbytes] * len(keys)).get([]))
            for region, payload in zip(regions, payloads, strict=False):
                region.numpy()[:] = payload
        finally:
            handle.release()
        return self._l1.put_keys(keys[: len(regions)], regions)

    def erase(self, blocks: Blocks, timeout: float | None) -> None:
        self._l1.delete_keys(split_keys(blocks.keys))
        if self._l2 is not None:
            self._l2.erase(blocks, timeout)

    def prefetch(self, blocks: Blocks) -> None:
        """Nothing: there is no thread that could bring blocks into a cache of one lock."""

    def flush(self, timeout: float | None) -> bool:
        return self._l2 is None or self._l2.flush(timeout)

    def usage(self) -> tuple[int, int]:
        return len(self._l1), self._capacity

    def describe(self) -> str:
        return self._what

    def close(self, timeout: float) -> None:
        self._l1.clear()
        if self._l2 is not None:
            self._l2.close(timeout)


def _reason(found: int, blocks: Blocks) -> Reason:
    return Reason.NONE if found == blocks.length else Reason.MISS
