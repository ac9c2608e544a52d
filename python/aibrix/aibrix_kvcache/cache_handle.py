"""Handles: the blocks a call talks about, as memory regions and as tensors.

`acquire` and `allocate_for` answer with handles of the cache's own memory (tiers/handles.py); engines make handles of
their memory with `MemoryRegionKVCacheHandle.create` or `GDRKVCacheHandle.create` and give them to `get` and `put`.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .memory import ExternalMemoryRegion, MemoryRegion
from .spec import KVCacheBlockLayout, KVCacheBlockSpec

OnRelease = Callable[[torch.Tensor, int, int], Any]


class KVCacheHandle(ABC):
    """Some blocks in order. Whoever holds a handle calls `release` once, or gives it to `put`, which does."""

    writable: bool = True
    """Whether `get` may copy into it: not into what `acquire` answered, which is the cache's own."""

    @property
    def released(self) -> bool:
        """True after `release`: the memory may be somebody else's by now. False for handles that do not say."""
        return False

    @property
    @abstractmethod
    def memory_regions(self) -> Sequence[MemoryRegion | Sequence[MemoryRegion]]:
        """One region a block, or a sequence of them."""

    @property
    @abstractmethod
    def memory_region_type(self) -> type[MemoryRegion]:
        """What the regions are."""

    @abstractmethod
    def to_tensors(self) -> Sequence[torch.Tensor | Sequence[torch.Tensor]]:
        """Tensors over the same memory: nothing is copied. They must not be used after `release`."""

    @abstractmethod
    def release(self) -> None:
        """Gives the memory back. ValueError the second time."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Keeps the first `length` blocks and gives the others back."""

    @abstractmethod
    def __len__(self) -> int:
        """Blocks."""


class MemoryRegionKVCacheHandle(KVCacheHandle):
    """Blocks that are one region each.

    Args:
        block_dtype: what the tensors are of.
        block_shape: the shape of a block's tensor.
        mrs: regions of one type, at least one.
    """

    def __init__(
        self, block_dtype: torch.dtype, block_shape: tuple[int, ...], mrs: Sequence[MemoryRegion]
    ) -> None:
        assert len(mrs) > 0, "a handle needs at least one memory region"
        kind = type(mrs[0])
        assert all(type(mr) is kind for mr in mrs), f"memory regions of several types, the first is {kind.__name__}"
        self._block_dtype = block_dtype
        self._block_shape = tuple(block_shape)
        self._mrs: list[MemoryRegion] = list(mrs)
        self._released = False

    @property
    def block_dtype(self) -> torch.dtype:
        return self._block_dtype

    @property
    def block_shape(self) -> tuple[int, ...]:
        return self._block_shape

    @property
    def memory_regions(self) -> Sequence[MemoryRegion]:
        return self._mrs

    @property
    def memory_region_type(self) -> type[MemoryRegion]:
        return type(self._mrs[0]) if self._mrs else MemoryRegion

    @property
    def released(self) -> bool:
        return self._released

    def to_tensors(self) -> Sequence[torch.Tensor]:
        check_held(self)
        return MemoryRegion.to_tensors(self._mrs, self._block_dtype, self._block_shape)

    def release(self) -> None:
        if self._released:
            raise ValueError("Reference count is already zero.")
        self._released = True
        for mr in self._mrs:
            mr.ref_down()

    def take(self) -> list[MemoryRegion]:
        """The regions, with their references: the handle is released without giving them back."""
        if self._released:
            raise ValueError("Reference count is already zero.")
        self._released = True
        return list(self.memory_regions)

    def truncate(self, length: int) -> None:
        check_held(self)
        length = block_count(length)
        for mr in self._mrs[length:]:
            mr.ref_down()
        del self._mrs[length:]

    def __len__(self) -> int:
        return len(self._mrs)

    @staticmethod
    def create(
        blocks: Sequence[torch.Tensor],
        block_spec: KVCacheBlockSpec,
        select: Sequence[tuple[int, int]],
        on_mr_release: OnRelease | None = None,
    ) -> MemoryRegionKVCacheHandle:
        """A handle over an engine's own blocks.

        Args:
            blocks: the engine's blocks; ValueError if one is not contiguous.
            block_spec: the cache's blocks.
            select: for each block of the handle the engine's block, and where in its first dimension it starts.
            on_mr_release: called with (slab, addr, length) when a region is given back.
        Raises:
            ValueError: a tensor that is not contiguous, or a place outside of it.
        """
        if block_spec.engine_block_ntokens != block_spec.block_ntokens:
            layout = block_spec.block_layout
            assert layout == KVCacheBlockLayout.NCLD, (
                f"the engine's blocks ({block_spec.engine_block_ntokens} tokens) and the cache's "
                f"({block_spec.block_ntokens}) differ: the layout must be NCLD, not {layout.name}"
            )
        flat = [_flat(i, block) for i, block in enumerate(blocks)]
        regions = [
            _region(
                _tensor(flat, index),
                offset * blocks[index].stride(0) * blocks[index].element_size(),
                block_spec.block_nbytes,
                on_mr_release,
            )
            for index, offset in select
        ]
        return MemoryRegionKVCacheHandle(block_spec.block_dtype, block_spec.block_shape, regions)


class GDRKVCacheHandle(KVCacheHandle):
    """Blocks scattered over an engine's layers: per block the regions k0, v0, k1, v1, ... of its layers.

    Args:
        block_dtype: what the tensors are of.
        block_shape: the shape of a block's tensor, LCND.
        mrs: per block 2 * layers regions.
    """

    def __init__(
        self, block_dtype: torch.dtype, block_shape: tuple[int, ...], mrs: Sequence[Sequence[MemoryRegion]]
    ) -> None:
        assert len(mrs) > 0 and len(mrs[0]) > 0, "a handle needs at least one memory region"
        self._block_dtype = block_dtype
        self._block_shape = tuple(block_shape)
        self._mrs = [list(block) for block in mrs]
        self._released = False

    @property
    def memory_regions(self) -> Sequence[Sequence[MemoryRegion]]:
        return self._mrs

    @property
    def memory_region_type(self) -> type[MemoryRegion]:
        return type(self._mrs[0][0])

    @property
    def released(self) -> bool:
        return self._released

    def to_tensors(self) -> Sequence[Sequence[torch.Tensor]]:
        check_held(self)
        shape = self._block_shape[2:]
        return [MemoryRegion.to_tensors(block, self._block_dtype, shape) for block in self._mrs]

    def release(self) -> None:
        if self._released:
            raise ValueError("Reference count is already zero.")
        self._released = True
        for block in self._mrs:
            for mr in block:
                mr.ref_down()

    def truncate(self, length: int) -> None:
        check_held(self)
        length = block_count(length)
        for block in self._mrs[length:]:
            for mr in block:
                mr.ref_down()
        del self._mrs[length:]

    def __len__(self) -> int:
        return len(self._mrs)

    @staticmethod
    def create(
        blocks: Sequence[torch.Tensor],
        block_spec: KVCacheBlockSpec,
        slot_mapping: torch.Tensor,
        on_mr_release: OnRelease | None = None,
    ) -> GDRKVCacheHandle:
        """A handle over an engine's layers.

        Args:
            blocks: one tensor a layer, [2, num_blocks, block_ntokens, heads, head_size]; ValueError if one is not
                contiguous.
            block_spec: the cache's blocks; the layout must be LCND, the engine's blocks the same size.
            slot_mapping: one slot a token, whole blocks.
            on_mr_release: called with (slab, addr, length) when a region is given back.
        Raises:
            ValueError: a tensor that is not contiguous, or a place outside of it.
        """
        if block_spec.block_layout != KVCacheBlockLayout.LCND:
            raise ValueError(f"the layout must be LCND, not {block_spec.block_layout.name}")
        ntokens = block_spec.block_ntokens
        assert block_spec.engine_block_ntokens == ntokens, (
            f"the engine's blocks ({block_spec.engine_block_ntokens} tokens) must be the cache's ({ntokens})"
        )
        assert len(slot_mapping) % ntokens == 0, f"{len(slot_mapping)} slots are not whole blocks of {ntokens} tokens"
        indices = [int(slot) // ntokens for slot in slot_mapping[::ntokens]]
        flat = [_flat(i, layer) for i, layer in enumerate(blocks)]
        piece = block_spec.block_nbytes // (2 * len(block_spec.tensor_spec.layers))
        half = [layer.numel() // 2 for layer in flat]
        regions = [
            [
                _region(layer, which * half[i] + index * piece, piece, on_mr_release, (which + 1) * half[i])
                for i, layer in enumerate(flat)
                for which in (0, 1)
            ]
            for index in indices
        ]
        return GDRKVCacheHandle(block_spec.block_dtype, block_spec.block_shape, regions)


def check_held(handle: KVCacheHandle) -> None:
    if handle.released:
        raise ValueError("the handle was released")


def block_count(length: int) -> int:
    """What a handle is to be cut to. TypeError for what is no number of blocks, ValueError below zero."""
    try:
        count = operator.index(length)
    except TypeError:
        raise TypeError(f"a handle is cut to a number of blocks, not to {length!r}") from None
    if count < 0:
        raise ValueError(f"a handle cannot be cut to {count} blocks")
    return count


def _flat(index: int, tensor: torch.Tensor) -> torch.Tensor:
    """Its bytes in place. A copy would be read, or written to, instead of the engine's memory."""
    if not tensor.is_contiguous():
        raise ValueError(f"tensor {index} of shape {tuple(tensor.shape)} is not contiguous, strides {tensor.stride()}")
    return tensor.view(-1).view(torch.uint8)


def _tensor(flat: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    if not 0 <= index < len(flat):
        raise ValueError(f"block {index} is none of the {len(flat)} blocks")
    return flat[index]


def _region(
    slab: torch.Tensor, addr: int, nbytes: int, on_release: OnRelease | None, end: int | None = None
) -> ExternalMemoryRegion:
    end = slab.numel() if end is None else end
    if addr < 0 or addr + nbytes > end:
        raise ValueError(f"{nbytes} bytes at {addr} are outside of a tensor's first {end} bytes")
    return ExternalMemoryRegion(slab, addr, nbytes, on_release)
