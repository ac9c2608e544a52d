"""KV tensors as rows of bytes: torch views in which index i of the first dimension is block i, as KvPieces stores it.

The bytes of a block are those of KvPieces with memory_order: tensor after tensor, each in the order of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

# The longer the unit of a copy, the fewer of them.
_UNITS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}


@dataclass(frozen=True)
class _Place:
    """Where the blocks of one tensor, or of several alike at equal distances, lie in a storage. All in bytes."""

    storage: Any
    offset: int
    blocks: int
    block_stride: int
    dims: tuple[tuple[int, int], ...]
    """(size, stride), the outermost first; the last one is what is contiguous."""

    @property
    def bytes(self) -> int:
        """Of one block."""
        count = 1
        for size, _ in self.dims:
            count *= size
        return count


class BlockViews:
    """The tensors of one KV group on one device."""

    def __init__(self, tensors: Sequence[Any], dims: Sequence[int]) -> None:
        """dims: which dimension of each tensor counts blocks. Strides are those that KvPieces has taken."""
        places: list[_Place] = []
        for place in map(_place_of, tensors, dims):
            if not places or not _grow(places, place):
                places.append(place)
        self._places = [_joined(place) for place in places]
        self.block_bytes = sum(place.bytes for place in self._places)
        at = 0
        self._views: list[tuple[int, int, Any]] = []  # (first byte in a block, unit, [blocks, ...] in units)
        for place in self._places:
            unit = _unit_of(place, at, self.block_bytes)
            self._views.append((at, unit, _view(place, unit)))
            at += place.bytes

    def __len__(self) -> int:
        """Kernels for one gather or scatter."""
        return len(self._views)

    def gather(self, ids: Any, rows: Any) -> None:
        """rows[i] = block ids[i]. ids: int64 on the device; rows: uint8 [len(ids), block_bytes] there."""
        for at, unit, view in self._views:
            torch.index_select(view, 0, ids, out=_part(rows, at, unit, view))

    def scatter(self, ids: Any, rows: Any) -> None:
        """Block ids[i] = rows[i]; ids without repetition."""
        for at, unit, view in self._views:
            view.index_copy_(0, ids, _part(rows, at, unit, view))


def _place_of(tensor: Any, dim: int) -> _Place:
    item = int(tensor.element_size())
    dims = [(int(size), int(stride) * item) for d, (size, stride)
            in enumerate(zip(tensor.shape, tensor.stride(), strict=True)) if d != dim and size > 1]
    dims.sort(key=lambda each: -each[1])
    return _Place(tensor.untyped_storage(), int(tensor.storage_offset()) * item, int(tensor.shape[dim]),
                  int(tensor.stride(dim)) * item, (*dims, (item, 1)))


def _grow(places: list[_Place], place: _Place) -> bool:
    """Layers that lie at equal distances become one place, with a dimension more: one kernel for all of them."""
    last = places[-1]
    same = (last.storage.data_ptr(), last.blocks, last.block_stride) == (
        place.storage.data_ptr(), place.blocks, place.block_stride)
    if not same:
        return False
    if last.dims == place.dims:
        count, distance = 1, place.offset - last.offset
    elif last.dims[1:] == place.dims:
        count, distance = last.dims[0]
        if place.offset != last.offset + count * distance:
            return False
    else:
        return False
    if distance <= 0:
        return False
    places[-1] = _Place(last.storage, last.offset, last.blocks, last.block_stride, ((count + 1, distance), *place.dims))
    return True


def _joined(place: _Place) -> _Place:
    """Dimensions that follow each other without a gap are one."""
    dims = list(place.dims)
    for d in range(len(dims) - 1, 0, -1):
        size, stride = dims[d]
        if dims[d - 1][1] == size * stride:
            dims[d - 1:d + 1] = [(dims[d - 1][0] * size, stride)]
    return _Place(place.storage, place.offset, place.blocks, place.block_stride, tuple(dims))


def _unit_of(place: _Place, at: int, row_bytes: int) -> int:
    outer = [stride for _, stride in place.dims[:-1]]
    numbers = [place.storage.data_ptr(), place.offset, place.block_stride, place.dims[-1][0], at, row_bytes, *outer]
    return next(unit for unit in _UNITS if all(number % unit == 0 for number in numbers))


def _view(place: _Place, unit: int) -> Any:
    *outer, (run, _) = place.dims
    size = (place.blocks, *(n for n, _ in outer), run // unit)
    stride = (place.block_stride // unit, *(n // unit for _, n in outer), 1)
    # A tensor of its own over the same memory: whatever the engine's is to autograd, this one is plain.
    return torch.empty(0, dtype=_UNITS[unit], device=place.storage.device).set_(
        place.storage, place.offset // unit, size, stride)


def _part(rows: Any, at: int, unit: int, view: Any) -> Any:
    inner = tuple(view.shape[1:])
    length = 1
    for n in inner:
        length *= n
    return rows.view(_UNITS[unit])[:, at // unit:at // unit + length].unflatten(1, inner)
