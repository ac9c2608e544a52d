"""Copies the pieces of pages between an engine's host pool and blocks, by address."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

import reprise

Addresses = np.ndarray[Any, np.dtype[np.int64]]


class Pieces:
    """Where the pieces of some pages lie: `address` and `size` have one row a page, one column a piece.

    `pointers` are those of page 0, then those of page 1, and so on; `order`, where given, says for each column which of
    a page's pointers it is.
    """

    def __init__(self, pages: int, pointers: Sequence[int], sizes: Sequence[int],
                 order: Sequence[int] | None = None) -> None:
        if pages == 0 or len(pointers) % pages or len(pointers) != len(sizes):
            raise ValueError(f"{len(pointers)} pointers with {len(sizes)} sizes are no {pages} pages")
        self.address: Addresses = np.asarray(pointers, dtype=np.int64).reshape(pages, -1)
        self.size: Addresses = np.asarray(sizes, dtype=np.int64).reshape(pages, -1)
        if order is not None:
            self.address, self.size = self.address[:, order], self.size[:, order]
        if (self.size != self.size[0]).any() or (self.size <= 0).any():
            raise ValueError("pages of different shapes")
        self.page_bytes = int(self.size[0].sum())

    def __len__(self) -> int:
        return len(self.address)

    def gather(self, page: int, block: int) -> None:
        """Copies the pieces of `page` to the address `block`, one after the other."""
        for address, size in zip(self.address[page].tolist(), self.size[page].tolist(), strict=True):
            ctypes.memmove(block, address, size)
            block += size

    def scatter(self, page: int, block: int) -> None:
        """Copies the bytes at the address `block` to the pieces of `page`."""
        for address, size in zip(self.address[page].tolist(), self.size[page].tolist(), strict=True):
            ctypes.memmove(address, block, size)
            block += size


class Window:
    """Addresses of leased and reserved blocks: in the one range of an embedded cache, or one by one."""

    def __init__(self, cache: reprise.Cache) -> None:
        memory = cache.writable_memory
        self._memory = None if memory is None else ctypes.c_char.from_buffer(memory)
        self._base = 0 if self._memory is None else ctypes.addressof(self._memory)

    def blocks(self, source: reprise.Lease | reprise.Reservation, count: int) -> tuple[list[int], list[Any]]:
        """Addresses of the first `count` blocks, 0 for one there is none of; and what keeps them there meanwhile: let
        go of it before the lease or reservation ends."""
        offsets = list(source.offsets) if self._memory is not None else [-2] * count
        addresses, kept = [], []
        for index, offset in enumerate(offsets[:count]):
            if offset >= 0:
                addresses.append(self._base + offset)
                continue
            view = None if offset == -1 else source[index]
            if view is None:
                addresses.append(0)
                continue
            array = np.frombuffer(view, dtype=np.uint8)
            kept.append(array)
            addresses.append(array.__array_interface__["data"][0])
        return addresses, kept
