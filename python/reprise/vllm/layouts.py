"""What vLLM registers as KV tensors, turned into the pieces that make a block.

A block's bytes are opaque: for each layer in order, what the tensor holds for one block id, in the order it lies in
memory. Two ranks agree on a layout exactly if `KvLayout.name` is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import Error
from .._native import KvPieces


class UnknownLayout(ValueError):
    """A KV tensor whose blocks cannot be told apart; the message names it."""


@dataclass(frozen=True)
class KvLayout:
    """How the blocks of one KV group lie in this worker's tensors."""

    name: str
    pieces: KvPieces


def layout_of(kv_caches: Mapping[str, Any], layer_names: Sequence[str], num_blocks: int) -> KvLayout:
    """The layout of the layers of one group. UnknownLayout for tensors that fit no rule.

    kv_caches: by layer name, a tensor each: [num_blocks, ...] in any strides, or [2, num_blocks, ...] with K and V
    apart. Where the attention kernel has smaller blocks than the tables, num_blocks is a divisor of the dimension.
    """
    tensors: list[Any] = []
    dims: list[int] = []
    kinds: list[str] = []
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    for layer in layer_names:
        tensor: Any = kv_caches.get(layer)
        if not hasattr(tensor, "untyped_storage"):
            raise UnknownLayout(f"layer '{layer}' has {type(tensor).__name__} and not one KV tensor")
        what = f"layer '{layer}': {tensor.dtype} {tuple(tensor.shape)}, strides {tuple(tensor.stride())}"
        if tensor.device.type != "cpu":
            raise UnknownLayout(f"{what}, on '{tensor.device.type}': only memory of the CPU is copied in this version")
        place = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if place in seen:
            continue  # Layers that share one tensor.
        seen.add(place)
        dim = _block_dim(tuple(tensor.shape), num_blocks)
        if dim is None:
            raise UnknownLayout(f"{what}: no dimension is that of {num_blocks} blocks")
        kinds.append(f"{str(tensor.dtype).removeprefix('torch.')}{list(_without(tensor.shape, dim))}@{dim}")
        smaller = int(tensor.shape[dim]) // num_blocks
        tensors.append(tensor.unflatten(dim, (num_blocks, smaller)) if smaller > 1 else tensor)
        dims.append(dim)
    if not tensors:
        raise UnknownLayout("no layer has a KV tensor")
    try:
        pieces = KvPieces.from_tensors(tensors, dims, memory_order=True)
    except (Error, ValueError) as error:
        raise UnknownLayout(f"layers '{layer_names[0]}' to '{layer_names[-1]}', {kinds[0]}: {error}") from None
    order = hashlib.sha256("|".join([pieces.signature, *kinds]).encode()).hexdigest()[:16]
    return KvLayout(f"vllm:{len(tensors)}x{kinds[0]}:{order}", pieces)


def _block_dim(shape: tuple[int, ...], num_blocks: int) -> int | None:
    """The blocks come first, or second behind K and V."""
    if len(shape) >= 2 and shape[0] >= num_blocks and shape[0] % num_blocks == 0:
        return 0
    if len(shape) >= 4 and shape[0] == 2 and shape[1] >= num_blocks and shape[1] % num_blocks == 0:
        return 1
    return None


def _without(shape: Sequence[int], dim: int) -> list[int]:
    return [int(n) for i, n in enumerate(shape) if i != dim]
