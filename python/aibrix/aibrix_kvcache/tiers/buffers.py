"""Memory regions as buffers the core can copy from and to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..cache_handle import KVCacheHandle
from ..memory import MemoryRegion

Bytes = npt.NDArray[np.uint8]


def copy_bytes(source: MemoryRegion, target: MemoryRegion) -> None:
    """Both are of one length; either may be in a device's memory."""
    target.bytes_view().copy_(source.bytes_view())


def _check(nbytes: int, expected: int, block: int) -> None:
    if nbytes != expected:
        raise ValueError(f"block {block} of the handle has {nbytes} bytes, a block of this cache has {expected}")


def buffers_of(handle: KVCacheHandle, block_nbytes: int) -> list[Bytes]:
    """Each block's bytes, where they lie if they are one piece of the CPU's memory. ValueError for a wrong size."""
    blocks = []
    for i, regions in enumerate(handle.memory_regions):
        if isinstance(regions, MemoryRegion):
            _check(regions.length, block_nbytes, i)
            blocks.append(regions.bytes_view().cpu().numpy())
            continue
        _check(sum(region.length for region in regions), block_nbytes, i)
        blocks.append(torch.cat([region.bytes_view() for region in regions]).cpu().numpy())
    return blocks


def writable_buffers(regions: Sequence[MemoryRegion], block_nbytes: int) -> list[Bytes] | None:
    """The same to be written to; None if one of them is not in the CPU's memory. ValueError for a wrong size."""
    buffers = []
    for i, region in enumerate(regions):
        _check(region.length, block_nbytes, i)
        if region.slab.device.type != "cpu":
            return None
        buffers.append(region.bytes_view().numpy())
    return buffers
