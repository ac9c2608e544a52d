"""Regions that belong to a pool, and the tokens that may be packed behind their block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..cache_hashable import TokenListView
from .memory_region import MemoryRegion

if TYPE_CHECKING:
    from .allocator import TensorPoolAllocator

_ALIGNMENT = 16
_HEADER = 3  # Words before the tokens: magic, length of the prefix, length of the query.


class ManagedMemoryRegion(MemoryRegion):
    """A region of a pool's slab: at the last release the pool has it back.

    Without the compact layout the block is followed by int32 words: MAGIC, tokens of the prefix, tokens of the query,
    and the tokens themselves.
    """

    MAGIC: int = 0x3A7F1C42

    def __init__(self, allocator: TensorPoolAllocator, slab: torch.Tensor, addr: int, length: int) -> None:
        super().__init__(slab, addr, length)
        self.allocator = allocator
        self._block_nbytes = length
        self._is_sealed = False

    @property
    def block_nbytes(self) -> int:
        """Bytes of the block; the whole region unless it was set."""
        return self._block_nbytes

    @block_nbytes.setter
    def block_nbytes(self, block_nbytes: int) -> None:
        if not 0 < block_nbytes <= self.length:
            raise ValueError(f"block_nbytes={block_nbytes} in a region of {self.length} bytes")
        self._block_nbytes = block_nbytes
        self._cached_tensor_view = None

    @property
    def is_sealed(self) -> bool:
        """True after `seal`: nothing is written into the region any more."""
        return self._is_sealed

    def seal(self) -> None:
        """Says that the block is complete."""
        self._is_sealed = True

    @staticmethod
    def calculate_size(block_nbytes: int, ntokens: int) -> int:
        """Bytes that a block and its `ntokens` tokens (prefix and query) need, in the layout that is in use."""
        if MemoryRegion.use_compact_layout():
            return block_nbytes
        size = block_nbytes + 4 * (_HEADER + ntokens)
        return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT

    def pack_tokens(self, *, query: TokenListView, prefix: TokenListView | None = None) -> None:
        """Writes the tokens behind the block. Does nothing in the compact layout. ValueError if they do not fit."""
        if self.use_compact_layout():
            return
        parts = [np.array([self.MAGIC, len(prefix) if prefix is not None else 0, len(query)], dtype="<i4")]
        parts += [np.asarray(tokens.to_numpy(), dtype="<i4") for tokens in (prefix, query) if tokens is not None]
        words = np.concatenate(parts)
        if self._block_nbytes + words.nbytes > self.length:
            raise ValueError(
                f"{len(words) - _HEADER} tokens behind {self._block_nbytes} bytes do not fit into {self.length}"
            )
        end = self.addr + self._block_nbytes
        self.slab[end : end + words.nbytes].copy_(torch.from_numpy(words.view(np.uint8)))

    def unpack_tokens(self) -> tuple[TokenListView | None, TokenListView | None]:
        """(prefix, query) as packed behind the block; (None, None) if nothing that makes sense is there."""
        if self.use_compact_layout():
            return None, None
        tail = self.slab[self.addr + self._block_nbytes : self.addr + self.length].cpu().numpy()
        words = np.frombuffer(tail.tobytes()[: tail.nbytes // 4 * 4], dtype="<i4")
        if len(words) < _HEADER or words[0] != self.MAGIC:
            return None, None
        nprefix, nquery = int(words[1]), int(words[2])
        if nprefix < 0 or nquery <= 0 or nprefix + nquery > len(words) - _HEADER:
            return None, None
        tokens = words[_HEADER:]
        prefix = TokenListView.from_numpy(tokens[:nprefix]) if nprefix else None
        return prefix, TokenListView.from_numpy(tokens[nprefix : nprefix + nquery])

    def destroy_unsafe(self) -> None:
        super().destroy_unsafe()
        self.allocator.free(self)
