"""The memory of a cache as torch tensors, made once and sliced."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import reprise


class Arena:
    """All memory of a cache as one tensor of bytes. Tensors made of it keep it mapped."""

    def __init__(self, memory: memoryview, dtype: torch.dtype, block_shape: tuple[int, ...], block_nbytes: int) -> None:
        self.slab = torch.frombuffer(memory, dtype=torch.uint8)
        usable = len(memory) - len(memory) % dtype.itemsize
        self._typed = self.slab[:usable].view(dtype)
        self._itemsize = dtype.itemsize
        self._shape = block_shape
        self._strides = torch.empty(block_shape, device="meta").stride()
        self.block_nbytes = block_nbytes

    @classmethod
    def of(cls, cache: reprise.Cache, dtype: torch.dtype, shape: tuple[int, ...], nbytes: int) -> Arena | None:
        """None where the cache's bytes are not in one piece of this process's memory."""
        memory = cache.writable_memory
        return None if memory is None else cls(memory, dtype, shape, nbytes)

    def tensors(self, offsets: Sequence[int]) -> list[torch.Tensor]:
        """A tensor a block."""
        view, shape, strides, itemsize = self._typed.as_strided, self._shape, self._strides, self._itemsize
        return [view(shape, strides, offset // itemsize) for offset in offsets]
