"""Moves blocks between KV tensors in the memory of the CPU and the cache's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from .layouts import KvLayout, UnknownLayout


class BlockCopier:
    """Copies whole blocks by their ids. The tensors must outlive it: `keep` is held for that."""

    def __init__(self, layout: KvLayout, keep: Any) -> None:
        if layout.device != "cpu":
            raise UnknownLayout(f"KV tensors on '{layout.device}': only those of the CPU can be copied in this version")
        self._layout = layout
        self._keep = keep

    def gather(self, block_id: int, block: memoryview) -> None:
        """Tensors to cache: fills `block`, block_bytes long and writable."""
        base = ctypes.addressof(ctypes.c_char.from_buffer(block))
        for piece in self._layout.pieces:
            ctypes.memmove(base, piece.address + self._checked(block_id) * piece.stride, piece.size)
            base += piece.size

    def scatter(self, block: memoryview, block_id: int) -> None:
        """Cache to tensors: `block` is only read."""
        at = 0
        for piece in self._layout.pieces:
            target = (ctypes.c_char * piece.size).from_address(
                piece.address + self._checked(block_id) * piece.stride)
            memoryview(target).cast("B")[:] = block[at:at + piece.size]
            at += piece.size

    def _checked(self, block_id: int) -> int:
        if not 0 <= block_id < self._layout.num_blocks:
            raise ValueError(f"block id {block_id} of {self._layout.num_blocks}")
        return block_id


def gather_all(copier: BlockCopier, ids: Sequence[int], blocks: Sequence[memoryview | None]) -> int:
    """Fills each block that is wanted from the id at the same place; how many were."""
    filled = 0
    for block_id, block in zip(ids, blocks, strict=True):
        if block is not None:
            copier.gather(block_id, block)
            filled += 1
    return filled
