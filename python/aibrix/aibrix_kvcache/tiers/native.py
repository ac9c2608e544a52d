"""Both tiers in one cache of the core: the normal case."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

import reprise
from reprise import Reason

from .. import envs
from ..block_keys import KEY_BYTES
from ..cache_handle import KVCacheHandle, MemoryRegionKVCacheHandle
from ..chains import Blocks
from ..config import KVCacheConfig
from ..memory import MemoryRegion
from . import settings
from .arena import Arena
from .buffers import buffers_of, copy_bytes, writable_buffers
from .footer import TokenFooter
from .handles import LeasedHandle, ReservedHandle
from .tiers import Answer, worth_asking_l2

_LEAST_PATIENCE_S = 1.0
_NOTHING = Answer(0, 0, 0, Reason.NONE)


class NativeTiers:
    """One embedded `reprise.Cache`, with a store behind it or not."""

    def __init__(
        self, config: KVCacheConfig, footer: TokenFooter | None, *, capacity: int, policy: str, url: str
    ) -> None:
        spec = config.block_spec
        self._capacity = capacity
        self.has_l1 = capacity > 0
        self.has_l2 = url != ""
        self._what = f"L1 {policy} {capacity} bytes" if self.has_l1 else "no L1"
        self._what += f", L2 {url}" if self.has_l2 else ", no L2"
        self._dtype, self._shape, self._nbytes = spec.block_dtype, spec.block_shape, spec.block_nbytes
        self._footer = footer
        self._threshold = envs.AIBRIX_KV_CACHE_OL_DOUBLE_GET_THRESHOLD
        self._waits = self.has_l2 and envs.AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS == 0
        # Synchronous ingestion waits after so many blocks, so that what one call gives need not fit into the queue.
        gives_all = not self.has_l1 or envs.AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_TYPE == "ALL"
        half = max(1, settings.queue_bytes(config) // self._nbytes // 2)
        self._most_at_once = half if self._waits and gives_all else None
        self._flush_limit = float(envs.AIBRIX_KV_CACHE_OL_FLUSH_TIMEOUT_S)
        self._seconds_per_block = settings.seconds_per_block(config)
        self._cache = reprise.Cache.open("embedded:", **settings.core_options(config, capacity, policy, url))
        arena = Arena.of(self._cache, self._dtype, self._shape, self._nbytes)
        assert arena is not None, "an embedded cache has its memory in this process"
        self._open_arena: Arena | None = arena

    @property
    def cache(self) -> reprise.Cache:
        return self._cache

    @property
    def _arena(self) -> Arena:
        if self._open_arena is None:
            raise ValueError("the manager was closed")
        return self._open_arena

    def _time_for(self, blocks: Blocks, per_block: float) -> tuple[float, bool]:
        """How long L2 may take, and whether it is asked at all."""
        if not self.has_l2:
            return 0.0, False
        total = missing = blocks.length
        if self.has_l1:
            missing -= self._cache.match(blocks.chain, timeout=0).from_l1
            if not worth_asking_l2(self._threshold, missing, total):
                return 0.0, False
        return missing * per_block, True

    def exists(self, blocks: Blocks, timeout_per_block: float) -> Answer:
        timeout, asked = self._time_for(blocks, timeout_per_block)
        found = self._cache.match(blocks.chain, timeout=timeout)
        return Answer(found.blocks, found.from_l1, found.from_l2, found.reason, asked)

    def acquire(self, blocks: Blocks, timeout_per_block: float) -> tuple[LeasedHandle | None, Answer]:
        timeout, asked = self._time_for(blocks, timeout_per_block)
        lease = self._cache.acquire(blocks.chain, timeout=timeout)
        found = lease.match
        assert found is not None
        count, reason = found.blocks, found.reason
        if count and self._footer is not None:
            expected = self._footer.make(blocks.prefix, blocks.query, count)
            good = self._footer.matching(self._arena.slab, lease.offsets, self._nbytes, expected)
            if good < count:
                count, reason = good, Reason.FOREIGN
        answer = Answer(count, found.from_l1, found.from_l2, reason, asked)
        if count == 0:
            lease.release()
            return None, answer
        handle = LeasedHandle(self._arena, lease, self._dtype, self._shape)
        handle.truncate(count)
        return handle, answer

    def copy_out(self, blocks: Blocks, into: Sequence[MemoryRegion], timeout_per_block: float) -> Answer:
        blocks = blocks.first(len(into))
        out = writable_buffers(into[: blocks.length], self._nbytes)
        if self._footer is None and out is not None:
            timeout, asked = self._time_for(blocks, timeout_per_block)
            found = self._cache.get(blocks.chain, out, timeout=timeout)
            return Answer(found.blocks, found.from_l1, found.from_l2, found.reason, asked)
        handle, answer = self.acquire(blocks, timeout_per_block)
        if handle is None:
            return answer
        for source, target in zip(handle.memory_regions, into, strict=False):
            copy_bytes(source, target)
        still_there = handle.valid
        handle.release()
        return answer if still_there else _NOTHING._replace(reason=Reason.EXPIRED)

    def allocate(self, blocks: Blocks) -> tuple[MemoryRegionKVCacheHandle | None, Reason]:
        reservation = self._cache.reserve(blocks.chain)
        room = self._room(blocks, reservation.offsets)
        if room == 0:
            reservation.abandon()
            return None, Reason.FULL
        handle = ReservedHandle(self._arena, reservation, blocks.keys, room, self._dtype, self._shape)
        return handle, Reason.NONE

    def _room(self, blocks: Blocks, offsets: Sequence[int]) -> int:
        """How many blocks, from the first on, have memory or are in the cache."""
        end = max((i + 1 for i, offset in enumerate(offsets) if offset >= 0), default=0)
        if end == len(offsets):
            return end
        # Nothing is kept behind a hole, so what has no memory before `end` is in the cache; behind it, ask.
        rest = reprise.Chain(blocks.chain.ns, blocks.keys[end * KEY_BYTES :])
        return end + self._cache.match(rest, timeout=0).blocks

    def store(self, blocks: Blocks, handle: KVCacheHandle) -> tuple[int, Reason]:
        blocks = blocks.first(len(handle))
        # What L2 may take for reading these blocks it may take for writing them: an engine's step waits for this.
        patience = max(_LEAST_PATIENCE_S, blocks.length * self._seconds_per_block)
        until = time.monotonic() + min(self._flush_limit, patience)
        if isinstance(handle, ReservedHandle) and handle.keys[: len(blocks.keys)] == blocks.keys:
            kept, reason = self._commit(blocks, handle, until)
        else:
            try:
                kept, reason = self._put(blocks, handle, until)
            finally:
                if not handle.released:
                    handle.release()
        if kept and not self.wait_if_asked_to(until) and not self.has_l1 and (left := until - time.monotonic()) > 0:
            # L2 refused, and was not merely late: nobody has what it did not take.
            found = self._cache.match(blocks.chain, timeout=left)
            return min(kept, found.blocks), found.reason if found.blocks < kept else reason
        return kept, reason

    def wait_if_asked_to(self, until: float | None = None) -> bool:
        """Synchronous ingestion: returns when L2 has what was given to it, or at `until` (None: the limit from now).

        False where it was asked to wait, and L2 does not have it.
        """
        if not self._waits:
            return True
        left = self._flush_limit if until is None else until - time.monotonic()
        return self._cache.flush(timeout=max(left, 0))

    def _commit(self, blocks: Blocks, handle: ReservedHandle, until: float) -> tuple[int, Reason]:
        count = blocks.length
        if self._most_at_once is not None and self.has_l1 and count > self._most_at_once:
            return self._put(blocks, handle, until)  # Committed at once, what is beyond the queue would not reach L2.
        if self._footer is not None:
            footers = self._footer.make(blocks.prefix, blocks.query, count)
            self._footer.write(self._arena.slab, handle.offsets, self._nbytes, footers)
        if handle.commit(count) == count:
            return count, Reason.NONE
        return self._cache.match(blocks.chain, timeout=0).blocks, Reason.BUSY

    def _put(self, blocks: Blocks, handle: KVCacheHandle, until: float) -> tuple[int, Reason]:
        payloads = buffers_of(handle, self._nbytes)[: blocks.length]
        if isinstance(handle, ReservedHandle):
            # Its places may be those of `blocks`, which would count as present until it ends.
            payloads = [payload.copy() for payload in payloads]
            handle.release()
        if self._footer is not None:
            footers = self._footer.make(blocks.prefix, blocks.query, blocks.length)
            payloads = [np.concatenate([p, f]) for p, f in zip(payloads, footers, strict=True)]
        step = self._most_at_once or blocks.length
        for at in range(0, blocks.length, step):
            if at:
                self.wait_if_asked_to(until)
            stored = self._cache.put(blocks.chain, payloads[at : at + step], start=at)
            if stored.declined:
                return at + stored.declined_blocks.index(True), stored.reason
        return blocks.length, Reason.NONE

    def erase(self, blocks: Blocks, timeout: float | None) -> None:
        self._cache.erase(blocks.chain, timeout=timeout)

    def prefetch(self, blocks: Blocks) -> None:
        if self.has_l1 and self.has_l2:
            self._cache.prefetch(blocks.chain, timeout=0)

    def flush(self, timeout: float | None) -> bool:
        return self._cache.flush(timeout=timeout)

    def usage(self) -> tuple[int, int]:
        if self._cache.closed:
            return 0, self._capacity
        l1 = self._cache.stats().l1
        return l1.used_bytes, l1.capacity_bytes

    def describe(self) -> str:
        return self._what

    def close(self, timeout: float) -> None:
        if self.has_l2 and not self._cache.closed:
            self._cache.flush(timeout=timeout)
        self._cache.close()
        self._open_arena = None  # Handles that live keep the memory, and nobody else does.
