"""The memory cache over an eviction policy in Python."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from ..cache_hashable import KVCacheKeyTypes
from ..memory import ManagedMemoryRegion, MemoryRegion, TensorPoolAllocator
from ..metrics import L1CacheMetrics, MeasurableBase, MetricRecorder
from ..spec import KVCacheBlockSpec
from ..status import Status, StatusCodes
from .chain_keys import chain_keys
from .eviction_policy import BaseEvictionPolicy, Functor
from .room import Note, Room

_logger = logging.getLogger("aibrix_kvcache.l1")

# How often an allocation evicts and tries again. Memory of evicted blocks may stay in use, by a callback that writes
# them elsewhere: evicting on and on would empty the cache for nothing.
_ROUNDS = 4


class L1Cache(MeasurableBase):
    """Blocks in memory by key, under one lock. Any thread may call anything.

    Blocks are named by 16-byte chain keys (the `*_keys` methods), or by (prefix, query), of which the keys are made.
    The policy is called under the lock. `on_put`, `on_evict` and `on_hot_access` are called with (key, region) after it
    was let go, by the thread whose call was the cause, and must drop the reference that comes with the region.

    A block somebody holds a reference to is not evicted: its memory would not come free. `multi_threaded` is accepted
    and has no meaning; the lock is always there.
    """

    def __init__(
        self,
        eviction_policy: str,
        capacity_nbytes: int,
        allocator: TensorPoolAllocator,
        block_spec: KVCacheBlockSpec,
        on_put: Functor | None = None,
        on_evict: Functor | None = None,
        on_hot_access: Functor | None = None,
        metrics: L1CacheMetrics | None = None,
        multi_threaded: bool = False,
    ) -> None:
        super().__init__(metrics)
        self.capacity_nbytes = capacity_nbytes
        self.allocator = allocator
        self.block_spec = block_spec
        self._lock = threading.Lock()
        self._policy: BaseEvictionPolicy[Any] = BaseEvictionPolicy.create(eviction_policy, capacity_nbytes)
        self._room = Room(self._policy, capacity_nbytes)
        self._on_put, self._on_evict, self._on_hot_access = on_put, on_evict, on_hot_access
        self._watch()
        if metrics is not None:
            metrics.eviction_policy_usage_metrics.used = lambda: len(self._policy)
            metrics.allocator_usage_metrics.used = lambda: len(allocator)

    def __len__(self) -> int:
        """Bytes of the blocks."""
        return len(self._policy)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"L1Cache(policy={self._policy.name}, capacity_nbytes={self.capacity_nbytes}, size={len(self)})"

    @property
    def eviction_policy(self) -> BaseEvictionPolicy[Any]:
        """The policy itself; not to be called while others use the cache."""
        return self._policy

    def set_on_put_callback(self, functor: Functor | None) -> None:
        self._on_put = functor
        self._watch()

    def set_on_evict_callback(self, on_evict: Functor | None) -> None:
        self._on_evict = on_evict
        self._watch()

    def set_on_hot_access_callback(self, on_hot_access: Functor | None) -> None:
        self._on_hot_access = on_hot_access
        self._watch()

    # By (prefix, query).

    def exists(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[int]:
        """How many leading blocks of `query` are there; NOT_FOUND if not one is."""
        return self._measured(MetricRecorder.OP.EXISTS, prefix, query, self._exists)

    def acquire(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[Sequence[MemoryRegion]]:
        """Regions of the leading blocks of `query`, a reference with each; NOT_FOUND if not one is there."""
        return self._measured(MetricRecorder.OP.ACQUIRE, prefix, query, self._acquire)

    def put(
        self,
        prefix: KVCacheKeyTypes | None,
        query: KVCacheKeyTypes,
        kv_tensors: torch.Tensor | Sequence[torch.Tensor] | Sequence[MemoryRegion],
    ) -> Status[int]:
        """Stores the blocks of `query`; OK with how many leading ones are there now, OUT_OF_MEMORY if not one.

        Tensors are copied: one per block, or a single one of all tokens of `query` in the block's layout. Regions are
        taken over, references and all, whatever the answer. INVALID if shapes or numbers disagree with `query`.
        """
        blocks = list(self._split(kv_tensors)) if isinstance(kv_tensors, torch.Tensor) else list(kv_tensors)
        return self._measured(MetricRecorder.OP.PUT, prefix, query, lambda keys: self._put(keys, blocks))

    def delete(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[Any]:
        """Forgets the blocks of `query`."""
        self.delete_keys(chain_keys(prefix, query, self.block_spec.block_ntokens))
        return Status.ok()

    @staticmethod
    def cache_block_keys(
        prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, block_ntokens: int
    ) -> Iterator[tuple[Any, Any]]:
        """(everything before the block, the block) for each complete block of `query`."""
        whole = query if prefix is None or not len(prefix) else prefix + query
        start = len(whole) - len(query)
        for end in range(start + block_ntokens, len(whole) + 1, block_ntokens):
            yield whole[: end - block_ntokens], whole[end - block_ntokens : end]

    # By keys.

    def exists_keys(self, keys: Sequence[bytes]) -> int:
        """How many leading blocks are there. No access is noted."""
        with self._lock:
            return self._run(keys)

    def acquire_keys(self, keys: Sequence[bytes]) -> list[MemoryRegion]:
        """The leading blocks that are there, each with a reference for the caller."""
        with self._lock:
            regions: list[MemoryRegion] = []
            # Deepest first: of two blocks of a prompt, the later one is of less use, and so becomes the older.
            for key in reversed(keys[: self._run(keys)]):
                status = self._policy.get(key)
                if status.is_ok():
                    regions.append(status.get())
                else:  # A policy that contradicts itself: what lies behind the gap is no match.
                    for region in regions:
                        region.ref_down()
                    regions.clear()
            notes = self._room.take_notes()
        self._deliver(notes)
        regions.reverse()
        return regions

    def put_keys(self, keys: Sequence[bytes], regions: Sequence[MemoryRegion]) -> int:
        """Takes over `regions` and their references: the blocks that are new stay, the others are released.

        Returns how many of the leading blocks are there now. Regions of the allocator are kept as they are; others
        are copied into it.
        """
        assert len(keys) == len(regions), f"{len(regions)} regions for {len(keys)} blocks"
        for index, region in enumerate(regions):
            mine = self._own(region)
            if mine is None or not self._put_one(keys[index], mine):
                for rest in regions[index + (mine is not None) :]:
                    rest.ref_down()
                break
        return self.exists_keys(keys)

    def delete_keys(self, keys: Sequence[bytes]) -> int:
        """Forgets the blocks; returns how many of them were there."""
        with self._lock:
            there = [key for key in keys if key in self._policy]
            for key in there:
                self._policy.delete(key)
            notes = self._room.take_notes()
        self._deliver(notes)
        return len(there)

    def allocate(self, sizes: Sequence[int]) -> Status[Sequence[MemoryRegion]]:
        """Regions to fill and put, one per size, for which blocks are evicted as needed.

        OK with fewer if no more memory can be made free; OUT_OF_MEMORY if there is none at all.
        """
        tokens = len(sizes) * self.block_spec.block_ntokens
        return self._measured_call(lambda: self._allocate(list(sizes)), MetricRecorder.OP.ALLOCATE, 0, tokens)

    def clear(self) -> None:
        """Forgets all blocks. Those that somebody holds live on until they are released."""
        with self._lock:
            for key in list(self._policy.keys()):
                self._policy.delete(key)
            notes = self._room.take_notes()
        self._deliver(notes)

    def assert_consistency(self) -> None:
        """AssertionError if policy, capacity or memory contradict each other."""
        with self._lock:
            self._policy.assert_consistency()
            assert len(self._policy) <= self.capacity_nbytes
        self.allocator.assert_consistency()

    # Inside.

    def _watch(self) -> None:
        """The policy says only what somebody wants to know: each note costs a reference."""
        self._policy.set_on_put_callback(self._room.note_put if self._on_put else None)
        self._policy.set_on_hot_access_callback(self._room.note_hot if self._on_hot_access else None)

    def _deliver(self, notes: Sequence[Note]) -> None:
        """Calls back, without the lock. A callback that raises is logged: the block is stored or gone either way."""
        functors = {"put": self._on_put, "hot": self._on_hot_access, "evict": self._on_evict}
        for note in notes:
            functor = functors[note.what]
            if functor is None:
                note.region.ref_down()
                continue
            try:
                functor(note.key, note.region)
            except Exception:
                _logger.exception("a callback for %s raised", note.what)

    def _run(self, keys: Sequence[bytes]) -> int:
        count = 0
        for key in keys:
            if key not in self._policy:
                break
            count += 1
        return count

    def _put_one(self, key: bytes, region: MemoryRegion) -> bool:
        """Puts one region or releases it; False if there is no room."""
        with self._lock:
            fits = present = key in self._policy
            if not present:
                fits = self._room.make(region.length)
                if fits:
                    self._policy.put(key, region)
            notes = self._room.take_notes()
        self._deliver(notes)
        if present or not fits:
            region.ref_down()
        return fits

    def _own(self, region: MemoryRegion) -> MemoryRegion | None:
        """The region if it is of the allocator, else a copy in it, the original being released. None: no memory."""
        if isinstance(region, ManagedMemoryRegion) and region.allocator is self.allocator:
            return region
        status = self._allocate([region.length])
        if not status.is_ok():
            return None
        copy = status.get()[0]
        copy.copy(region)
        region.ref_down()
        return copy

    def _allocate(self, sizes: list[int]) -> Status[Sequence[MemoryRegion]]:
        regions: list[MemoryRegion] = []
        status: Status[Any] = Status.error(StatusCodes.OUT_OF_MEMORY)
        for _ in range(_ROUNDS):
            status = self.allocator.alloc(sizes[len(regions) :])
            if status.is_ok():
                regions.extend(status.get())
            if len(regions) == len(sizes) or status.is_invalid():
                break
            with self._lock:
                freed = self._room.free(sum(sizes[len(regions) :]))
                notes = self._room.take_notes()
            self._deliver(notes)
            if not freed:
                break
        return Status.ok(regions) if regions else Status(status)

    def _exists(self, keys: list[bytes]) -> Status[int]:
        count = self.exists_keys(keys)
        return Status.ok(count) if count else Status.error(StatusCodes.NOT_FOUND)

    def _acquire(self, keys: list[bytes]) -> Status[Sequence[MemoryRegion]]:
        regions = self.acquire_keys(keys)
        return Status.ok(regions) if regions else Status.error(StatusCodes.NOT_FOUND)

    def _put(self, keys: list[bytes], blocks: list[Any]) -> Status[int]:
        are_regions = all(isinstance(item, MemoryRegion) for item in blocks)
        wrong = self._wrong_blocks(keys, blocks, are_regions)
        if wrong:
            for region in blocks if are_regions else ():
                region.ref_down()
            return Status.error(StatusCodes.INVALID, wrong)
        regions = blocks if are_regions else self._filled(blocks)
        count = self.put_keys(keys[: len(regions)], regions)
        return Status.ok(count) if count else Status.error(StatusCodes.OUT_OF_MEMORY, f"no room for a block: {self!r}")

    def _split(self, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
        """The blocks of a tensor of many tokens; a tail that is no whole block is left out."""
        ntokens, dim = self.block_spec.block_ntokens, self.block_spec.block_shape_token_dim
        for start in range(0, tensor.shape[dim] - ntokens + 1, ntokens):
            yield tensor.narrow(dim, start, ntokens)

    def _wrong_blocks(self, keys: list[bytes], blocks: list[Any], are_regions: bool) -> str:
        if not keys or len(blocks) != len(keys):
            return f"{len(blocks)} blocks for a query of {len(keys)} whole blocks"
        nbytes = self.block_spec.block_nbytes
        for block in blocks:
            got = block.block_nbytes if are_regions else block.numel() * block.element_size()
            if got != nbytes:
                return f"a block of {got} bytes where {nbytes} are expected"
        return ""

    def _filled(self, tensors: Sequence[torch.Tensor]) -> list[MemoryRegion]:
        """Copies of as many tensors as there is memory for."""
        status = self._allocate([self.block_spec.block_nbytes] * len(tensors))
        regions = list(status.get([]))
        for region, tensor in zip(regions, tensors, strict=False):
            region.to_tensor().copy_(tensor.contiguous().view(-1).view(torch.uint8))
        return regions

    def _measured(
        self,
        op: MetricRecorder.OP,
        prefix: KVCacheKeyTypes | None,
        query: KVCacheKeyTypes,
        call: Callable[[list[bytes]], Status[Any]],
    ) -> Status[Any]:
        nprefix = len(prefix) if prefix is not None else 0

        def with_keys() -> Status[Any]:
            try:
                keys = chain_keys(prefix, query, self.block_spec.block_ntokens)
            except ValueError as error:
                return Status.error(StatusCodes.INVALID, str(error))
            return call(keys)

        return self._measured_call(with_keys, op, nprefix, len(query))
