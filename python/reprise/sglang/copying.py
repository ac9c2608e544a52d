"""Copies pages between an engine's host pool and blocks of a cache."""

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

import reprise

Addresses = np.ndarray[Any, np.dtype[np.int64]]


class Pages(Protocol):
    """Some pages of a host pool, in the order of the keys they belong to."""

    @property
    def page_bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def gather_into(self, room: reprise.Reservation) -> None:
        """Fills each block of the reservation that is wanted with the page of its number."""

    def scatter_from(self, lease: reprise.Lease, count: int) -> bool:
        """Fills the first `count` pages; False if they may hold anything, because the lease ran out meanwhile."""


class MappedPages:
    """Pages of a pool that is one tensor: numbers of blocks in `pieces`. One call copies them, the GIL released."""

    def __init__(self, pieces: reprise.KvPieces, numbers: Sequence[int], threads: int) -> None:
        self._pieces, self._numbers, self._threads = pieces, numbers, threads

    @property
    def page_bytes(self) -> int:
        return self._pieces.block_bytes

    def __len__(self) -> int:
        return len(self._numbers)

    def gather_into(self, room: reprise.Reservation) -> None:
        self._pieces.gather_into(room, 0, self._numbers, threads=self._threads)

    def scatter_from(self, lease: reprise.Lease, count: int) -> bool:
        return self._pieces.scatter_from(lease, 0, self._numbers[:count], threads=self._threads)


class AddressedPages:
    """Pages of which only the addresses of the pieces are known: `pointers` and `sizes` of page 0, then of page 1, and
    so on. A page is its pieces one after the other. They are copied piece by piece."""

    def __init__(self, pages: int, pointers: Sequence[int], sizes: Sequence[int]) -> None:
        if pages == 0 or len(pointers) % pages or len(pointers) != len(sizes):
            raise ValueError(f"{len(pointers)} pointers with {len(sizes)} sizes are no {pages} pages")
        self._address: Addresses = np.asarray(pointers, dtype=np.int64).reshape(pages, -1)
        size: Addresses = np.asarray(sizes, dtype=np.int64).reshape(pages, -1)
        if (size != size[0]).any() or (size <= 0).any():
            raise ValueError("pages of different shapes")
        self._size: list[int] = size[0].tolist()

    @property
    def page_bytes(self) -> int:
        return sum(self._size)

    def __len__(self) -> int:
        return len(self._address)

    def gather_into(self, room: reprise.Reservation) -> None:
        for page in range(len(self)):
            view = room[page]
            if view is None:
                continue
            block = _address_of(view)
            for address, size in zip(self._address[page].tolist(), self._size, strict=True):
                ctypes.memmove(block, address, size)
                block += size
            view.release()

    def scatter_from(self, lease: reprise.Lease, count: int) -> bool:
        for page in range(count):
            with lease[page] as view:
                block = _address_of(view)
                for address, size in zip(self._address[page].tolist(), self._size, strict=True):
                    ctypes.memmove(address, block, size)
                    block += size
        return lease.valid


def _address_of(view: memoryview) -> int:
    return int(np.frombuffer(view, dtype=np.uint8).__array_interface__["data"][0])
