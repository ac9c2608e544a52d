"""What vLLM registers as KV tensors, turned into the pieces that make a block.

A block's bytes are opaque: for each layer in order, what the tensor holds for one block id, in the order it lies in
memory. Whatever strides a tensor has, each block of it is one or more contiguous ranges (pieces) at a constant distance
from those of the next block. Two ranks agree on a layout exactly if `KvLayout.name` is the same.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MAX_PIECES = 256  # Of one tensor: with more of them each would be a few bytes, and nobody lays out KV so.


class UnknownLayout(ValueError):
    """A KV tensor whose blocks cannot be told apart; the message names it."""


@dataclass(frozen=True)
class Piece:
    """Bytes [address + id * stride, + size) belong to block `id`."""

    address: int
    stride: int
    size: int


@dataclass(frozen=True)
class KvLayout:
    """How the blocks of one KV group lie in this worker's tensors."""

    name: str
    num_blocks: int
    pieces: tuple[Piece, ...]
    device: str

    @property
    def block_bytes(self) -> int:
        """Bytes of one block: all layers of this worker."""
        return sum(piece.size for piece in self.pieces)


def layout_of(kv_caches: Mapping[str, Any], layer_names: Sequence[str], num_blocks: int) -> KvLayout:
    """The layout of the layers of one group. UnknownLayout for tensors that fit no rule."""
    pieces: list[Piece] = []
    names: list[str] = []
    devices: set[str] = set()
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for layer in layer_names:
        tensor = kv_caches.get(layer)
        if tensor is None:
            continue  # Another pipeline rank's.
        if not hasattr(tensor, "untyped_storage"):
            raise UnknownLayout(f"layer '{layer}' has {type(tensor).__name__} and not one KV tensor")
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if place in seen:
            continue  # Layers that share one tensor.
        seen.add(place)
        name, found = _tensor_pieces(layer, tensor, num_blocks)
        names.append(name)
        pieces += found
        devices.add(tensor.device.type)
    if not pieces or len(devices) != 1:
        raise UnknownLayout(f"of {len(layer_names)} layers {len(names)} have KV tensors, on {sorted(devices)}")
    same = names[0] if len(set(names)) == 1 else hashlib.sha256("|".join(names).encode()).hexdigest()[:16]
    return KvLayout(f"vllm:{len(names)}x{same}", num_blocks, tuple(_merged(pieces)), devices.pop())


def _tensor_pieces(layer: str, tensor: Any, num_blocks: int) -> tuple[str, list[Piece]]:
    shape, strides = tuple(tensor.shape), tuple(tensor.stride())
    what = f"layer '{layer}': shape {shape}, strides {strides}, {num_blocks} blocks"
    axis = _block_axis(shape, num_blocks)
    if axis is None:
        raise UnknownLayout(f"{what}: no dimension is the blocks")
    # From the innermost outwards, as long as nothing lies between: that is one contiguous range of each block.
    inner: list[int] = []
    outer: list[int] = []
    dense = 1
    for i in sorted((i for i in range(len(shape)) if i != axis and shape[i] > 1), key=lambda i: strides[i]):
        if strides[i] == dense and not outer:
            inner.insert(0, i)
            dense *= shape[i]
        else:
            outer.append(i)
    outer.sort()
    kernel_blocks = shape[axis] // num_blocks  # Blocks of the attention kernel in one of the block tables'.
    steps = [range(shape[i]) for i in outer] + [range(kernel_blocks)]
    size = tensor.element_size()
    if len(outer) > 0 and (dense == 1 or len(list(itertools.product(*steps))) > _MAX_PIECES):
        raise UnknownLayout(f"{what}: its blocks are not made of contiguous ranges")
    if dense > strides[axis]:
        raise UnknownLayout(f"{what}: its blocks overlap")
    pieces = []
    for at in itertools.product(*steps):
        offset = sum(strides[i] * n for i, n in zip([*outer, axis], at, strict=True))
        pieces.append(Piece(tensor.data_ptr() + offset * size, strides[axis] * kernel_blocks * size, dense * size))
    kind = str(tensor.dtype).removeprefix("torch.")
    dims = ",".join(f"{i}:{shape[i]}" for i in [*outer, *inner])
    return f"{kind}[{kernel_blocks};{dims}]", _merged(pieces)


def _block_axis(shape: tuple[int, ...], num_blocks: int) -> int | None:
    """The blocks come first, or second behind K and V."""
    if len(shape) >= 2 and shape[0] >= num_blocks and shape[0] % num_blocks == 0:
        return 0
    if len(shape) >= 4 and shape[0] == 2 and shape[1] >= num_blocks and shape[1] % num_blocks == 0:
        return 1
    return None


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours in order and in memory become one piece; the bytes of a block stay the same."""
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if last and last.stride == piece.stride and last.address + last.size == piece.address:
            merged[-1] = Piece(last.address, last.stride, last.size + piece.size)
        else:
            merged.append(piece)
    return merged
