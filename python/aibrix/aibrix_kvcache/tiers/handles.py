"""Handles over the cache's own memory. Regions and tensors are made when somebody asks for them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import torch

import reprise

from ..cache_handle import MemoryRegionKVCacheHandle, block_count, check_held
from ..memory import MemoryRegion
from .arena import Arena


class _Share:
    """A lease and how many of its blocks are still held. The last one lets it go."""

    def __init__(self, lease: reprise.Lease) -> None:
        self._lease = lease
        self._hold = lease.hold()  # A lease that is held is renewed as long as it lives.
        self._left = len(lease)
        self._lock = threading.Lock()

    @property
    def valid(self) -> bool:
        return self._lease.valid

    def truncate(self, drop: int) -> None:
        """As `drop`, of the last blocks, whose memory the cache has back at once. Nobody may have regions of them."""
        with self._lock:
            keep = self._left - drop
            if keep > 0:
                self._hold.release()
                self._lease.truncate(keep)  # Where it cannot, they come back with the others.
                with contextlib.suppress(BufferError):  # It ran out: there is nothing to be kept alive.
                    self._hold = self._lease.hold()
        self.drop(drop)

    def drop(self, blocks: int = 1) -> None:
        with self._lock:
            self._left -= blocks
            if self._left != 0:
                return
        self._hold.release()
        self._lease.release()


class LeasedRegion(MemoryRegion):
    """A block under a lease: nobody overwrites it while its reference count is above zero."""

    def __init__(self, slab: torch.Tensor, addr: int, length: int, share: _Share) -> None:
        super().__init__(slab, addr, length)
        self._share = share

    def destroy_unsafe(self) -> None:
        self._share.drop()


class LeasedHandle(MemoryRegionKVCacheHandle):
    """What `acquire` answers: blocks to be read where they lie."""

    writable = False

    def __init__(self, arena: Arena, lease: reprise.Lease, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self._arena = arena
        self._share = _Share(lease)
        self._offsets: Sequence[int] = lease.offsets
        self._length = len(lease)
        self._block_dtype = dtype
        self._block_shape = shape
        self._regions: list[LeasedRegion] | None = None
        self._released = False

    @property
    def memory_regions(self) -> Sequence[MemoryRegion]:
        if self._regions is None:
            arena, share = self._arena, self._share
            self._regions = [
                LeasedRegion(arena.slab, self._offsets[i], arena.block_nbytes, share) for i in range(self._length)
            ]
        return self._regions

    @property
    def memory_region_type(self) -> type[MemoryRegion]:
        return LeasedRegion

    def to_tensors(self) -> list[torch.Tensor]:
        check_held(self)
        return self._arena.tensors(self._offsets[: self._length])

    @property
    def valid(self) -> bool:
        """True if nothing read so far can have been replaced: ask after the last read."""
        return self._share.valid

    def release(self) -> None:
        if self._released:
            raise ValueError("Reference count is already zero.")
        self._released = True
        self._drop(0)

    def truncate(self, length: int) -> None:
        check_held(self)
        length = block_count(length)
        if length < self._length:
            self._drop(length)

    def _drop(self, keep: int) -> None:
        gone = self._length - keep
        self._length = keep
        if self._regions is None:
            if gone:
                self._share.truncate(gone)
            return
        for region in self._regions[keep:]:
            region.ref_down()
        del self._regions[keep:]

    def __len__(self) -> int:
        return self._length


class ReservedHandle(MemoryRegionKVCacheHandle):
    """What `allocate_for` answers: memory to fill, then to be given to `put`.

    Blocks the cache has already get memory of their own, which `put` drops.
    """

    def __init__(
        self,
        arena: Arena,
        reservation: reprise.Reservation,
        keys: memoryview,
        blocks: int,
        dtype: torch.dtype,
        shape: tuple[int, ...],
    ) -> None:
        self.keys = keys
        self._arena = arena
        self._reservation: reprise.Reservation | None = reservation
        self._offsets = list(reservation.offsets[:blocks])
        self._block_dtype = dtype
        self._block_shape = shape
        self._mrs = []
        self._scratch: torch.Tensor | None = None
        known = sum(offset < 0 for offset in self._offsets)
        if known:
            self._scratch = torch.empty(known * arena.block_nbytes, dtype=torch.uint8)

    @property
    def offsets(self) -> list[int]:
        """Of each block in the arena; below zero where the cache has it already."""
        return self._offsets

    @property
    def released(self) -> bool:
        return self._reservation is None

    @property
    def memory_regions(self) -> Sequence[MemoryRegion]:
        check_held(self)
        if not self._mrs:
            nbytes, slab, scratch = self._arena.block_nbytes, self._arena.slab, self._scratch
            used = 0
            for offset in self._offsets:
                if offset >= 0:
                    self._mrs.append(MemoryRegion(slab, offset, nbytes))
                    continue
                assert scratch is not None
                self._mrs.append(MemoryRegion(scratch, used, nbytes))
                used += nbytes
        return self._mrs

    @property
    def memory_region_type(self) -> type[MemoryRegion]:
        return MemoryRegion

    def to_tensors(self) -> list[torch.Tensor]:
        check_held(self)
        if self._scratch is None:
            return self._arena.tensors(self._offsets)
        return list(MemoryRegion.to_tensors(self.memory_regions, self._block_dtype, self._block_shape))

    def commit(self, count: int) -> int:
        """Makes the first `count` blocks visible; answers how many of them are present now. Ends the handle."""
        reservation = self._take()
        return reservation.commit(count)

    def release(self) -> None:
        self._take().abandon()

    def _take(self) -> reprise.Reservation:
        reservation, self._reservation = self._reservation, None
        if reservation is None:
            raise ValueError("Reference count is already zero.")
        return reservation

    def truncate(self, length: int) -> None:
        check_held(self)
        length = block_count(length)
        del self._offsets[length:]
        del self._mrs[length:]

    def __len__(self) -> int:
        return len(self._offsets)
