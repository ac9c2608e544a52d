"""The pool of memory that regions are cut from."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

import torch

from ..status import Status, StatusCodes
from .managed_memory_region import ManagedMemoryRegion

_logger = logging.getLogger("aibrix_kvcache.memory")

# A place in the pool is one number: which slab, then the offset in it. No slab is so long that places of two slabs
# touch, so spans of different slabs never coalesce.
_SLAB_SHIFT = 48
_OFFSET_MASK = (1 << _SLAB_SHIFT) - 1


class _FreeSpans:
    """Free spans by length and by place: best fit, neighbours coalesce. Guarded by the pool's lock."""

    def __init__(self) -> None:
        self._by_length: list[tuple[int, int]] = []  # (length, place), sorted
        self._length_at: dict[int, int] = {}  # place -> length
        self._start_of: dict[int, int] = {}  # end -> place

    def __len__(self) -> int:
        return len(self._by_length)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(place, length) in order of place."""
        return iter(sorted(self._length_at.items()))

    def add(self, place: int, length: int) -> None:
        before = self._start_of.get(place)
        if before is not None:
            length += self._remove(before)
            place = before
        if place + length in self._length_at:
            length += self._remove(place + length)
        self._length_at[place] = length
        self._start_of[place + length] = place
        insort(self._by_length, (length, place))

    def take(self, least: int, wanted: int) -> tuple[int, int] | None:
        """The smallest span of at least `wanted`, or else the largest if it has `least`: (place, length)."""
        index = bisect_left(self._by_length, (wanted, -1))
        if index == len(self._by_length):
            index -= 1
        if index < 0 or self._by_length[index][0] < least:
            return None
        place = self._by_length[index][1]
        return place, self._remove(place)

    def _remove(self, place: int) -> int:
        length = self._length_at.pop(place)
        del self._start_of[place + length]
        del self._by_length[bisect_left(self._by_length, (length, place))]
        return length


class TensorPoolAllocator:
    """Hands out regions of uint8 slabs. Any thread may allocate, and release regions.

    `capacity_nbytes` is cut into slabs of at most SLAB_MAX_NBYTES; a region never crosses two. Sizes are rounded up to
    ALLOC_SIZE_ALIGNMENT inside. `pin_memory` has an effect where there is a GPU to pin for.
    """

    SLAB_MAX_NBYTES = 1 * 1024**3
    ALLOC_SIZE_ALIGNMENT = 16

    def __init__(self, *, capacity_nbytes: int, device: str = "cpu", pin_memory: bool = False) -> None:
        if capacity_nbytes <= 0:
            raise ValueError(f"capacity_nbytes={capacity_nbytes} must be positive")
        self.device = device
        self.pin_memory = pin_memory and torch.cuda.is_available()
        if pin_memory and not self.pin_memory:
            _logger.info("memory is not pinned: there is no GPU")
        self.capacity_nbytes = 0
        self._used_nbytes = 0
        self._lock = threading.Lock()
        self._slabs: list[torch.Tensor] = []
        self._free = _FreeSpans()
        self._lengths: dict[int, int] = {}  # place -> aligned length, of every region that is out
        self._index_of: dict[int, int] = {}  # id of a slab -> its index
        while self.capacity_nbytes < capacity_nbytes:
            self._grow(min(self._aligned(capacity_nbytes - self.capacity_nbytes), self.SLAB_MAX_NBYTES))

    @staticmethod
    def create(*, capacity_nbytes: int, device: str = "cpu", pin_memory: bool = False) -> TensorPoolAllocator:
        """A pool for this process's layout of regions."""
        return ObjectPoolAllocator(capacity_nbytes=capacity_nbytes, device=device, pin_memory=pin_memory)

    def __len__(self) -> int:
        """Bytes that are handed out."""
        return self._used_nbytes

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(capacity_nbytes={self.capacity_nbytes}, used={self._used_nbytes},"
            f" device={self.device}, pin_memory={self.pin_memory})"
        )

    @property
    def slabs(self) -> list[torch.Tensor]:
        """The memory all regions come from."""
        return list(self._slabs)

    @property
    def num_memory_regions(self) -> int:
        """Number of free spans: how fragmented the pool is."""
        with self._lock:
            return len(self._free)

    def alloc(self, sizes: int | Sequence[int]) -> Status[Sequence[ManagedMemoryRegion]]:
        """Regions of `sizes` bytes, in that order; their bytes are whatever was there before.

        OK with fewer regions if the pool ran out on the way, OUT_OF_MEMORY if there is not one, INVALID for no sizes or
        one that is not positive.
        """
        sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        if not sizes or min(sizes) <= 0:
            return Status.error(StatusCodes.INVALID, f"sizes must be positive, and at least one: {sizes[:8]}")
        with self._lock:
            places = self._carve([self._aligned(size) for size in sizes])
        if not places:
            return Status.error(StatusCodes.OUT_OF_MEMORY, f"{sizes[0]} bytes: {self!r}")
        return Status.ok(
            [
                ManagedMemoryRegion(self, self._slabs[place >> _SLAB_SHIFT], place & _OFFSET_MASK, size)
                for place, size in zip(places, sizes, strict=False)
            ]
        )

    def free(self, mr: ManagedMemoryRegion) -> None:
        """Takes a region back; regions call it at their last release. ValueError if the pool did not hand it out."""
        index = self._index_of.get(id(mr.slab))
        place = -1 if index is None else index << _SLAB_SHIFT | mr.addr
        with self._lock:
            length = self._lengths.pop(place, None)
            if length is None:
                raise ValueError(f"{mr!r} is not handed out by {self!r}")
            self._used_nbytes -= length
            self._free.add(place, length)

    def assert_consistency(self) -> None:
        """AssertionError unless free and used spans cover every slab exactly once."""
        with self._lock:
            spans = sorted([*self._free, *self._lengths.items()])
            free = list(self._free)
            assert sum(self._lengths.values()) == self._used_nbytes
        at = 0
        for index, slab in enumerate(self._slabs):
            place, end = index << _SLAB_SHIFT, (index << _SLAB_SHIFT) + slab.numel()
            while place < end:
                assert spans[at][0] == place, f"gap or overlap at offset {place & _OFFSET_MASK} of slab {index}"
                place += spans[at][1]
                at += 1
            assert place == end, f"a span leaves slab {index}"
        assert at == len(spans)
        for (place, length), (after, _) in zip(free, free[1:], strict=False):
            assert place + length != after, "free neighbours that did not coalesce"

    @classmethod
    def _aligned(cls, size: int) -> int:
        return -(-size // cls.ALLOC_SIZE_ALIGNMENT) * cls.ALLOC_SIZE_ALIGNMENT

    def _grow(self, nbytes: int) -> None:
        slab = torch.empty(nbytes, dtype=torch.uint8, device=self.device, pin_memory=self.pin_memory)
        with self._lock:
            self._index_of[id(slab)] = len(self._slabs)
            self._free.add(len(self._slabs) << _SLAB_SHIFT, nbytes)
            self._slabs.append(slab)
            self.capacity_nbytes += nbytes

    def _carve(self, sizes: list[int]) -> list[int]:
        """Places for as many of `sizes` as fit, side by side where possible."""
        places: list[int] = []
        place = end = 0
        left = sum(sizes)
        for size in sizes:
            if end - place < size:
                if end > place:
                    self._free.add(place, end - place)
                place = end = 0
                span = self._free.take(size, left)
                if span is None:
                    break
                place, end = span[0], sum(span)
            places.append(place)
            self._lengths[place] = size
            self._used_nbytes += size
            place += size
            left -= size
        if end > place:
            self._free.add(place, end - place)
        return places


class CoalescingPoolAllocator(TensorPoolAllocator):
    """The pool, under the name of the layout that packs tokens behind blocks."""


class ObjectPoolAllocator(TensorPoolAllocator):
    """The pool, under the name of the compact layout."""
