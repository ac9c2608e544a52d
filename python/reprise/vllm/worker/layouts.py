"""What vLLM registers as KV tensors, turned into the pieces that make a block.

A block's bytes are opaque: for each layer in order, what the tensor holds for one block id, in the order it lies in
memory. Two ranks agree on a layout exactly if `KvLayout.name` is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..._errors import Error
from ..._native import KvPieces, Reservation

if TYPE_CHECKING:
    from .staging import StagedKv
    from .staging.device import Device
    from .staging.saver import Stored


class UnknownLayout(ValueError):
    """A KV tensor whose blocks cannot be told apart; the message names it."""


@dataclass(frozen=True)
class Staging:
    """How much memory tensors on a device are copied through."""

    pinned_bytes: int = 1 << 30
    """Page-locked memory for saves, at most."""
    step_blocks: int = 0
    """Blocks that one step may complete: for more there is no need of memory."""
    slot_bytes: int = 32 << 20
    """Of one copy, unless a block is larger. A power of two: torch rounds page-locked memory up to one."""


@dataclass(frozen=True)
class KvLayout:
    """How the blocks of one KV group lie in this worker's tensors."""

    name: str
    pieces: KvPieces | StagedKv
    """Both have block_bytes, and scatter_from for what is loaded."""
    staged: StagedKv | None = None
    """The same, where the tensors are on a device."""

    def begin_step(self) -> None:
        """On the engine's thread, before anything of a step is loaded or stored."""
        if self.staged:
            self.staged.begin_step()

    def store(self, room: Reservation, block_ids: Sequence[int]) -> tuple[int, int]:
        """Fills a reservation and commits it, now or, from a device, a little later; it is not the caller's any more.

        Returns how many blocks were copied now, and how many are present; `stored` tells of those that come later.
        """
        if self.staged:
            return 0, self.staged.store(room, block_ids)[1]
        assert isinstance(self.pieces, KvPieces)
        with room:
            return self.pieces.gather_into(room, 0, block_ids), room.commit()

    def settle(self, until: float) -> None:
        """Waits until what was stored is in the cache, or for the time `until` (time.monotonic)."""
        if self.staged:
            self.staged.settle(until)

    def stored(self) -> Stored | None:
        """What was stored since the last call, later than `store`."""
        return self.staged.stored() if self.staged else None

    def close(self) -> None:
        """Stores what is under way."""
        if self.staged:
            self.staged.close()


class _Shape:
    """What KvPieces asks of a tensor, for one whose memory it cannot read: it says how the bytes are arranged."""

    def __init__(self, tensor: Any) -> None:
        self.device = _Cpu
        self.shape = tuple(tensor.shape)
        self.stride = tensor.stride
        self.data_ptr = tensor.data_ptr
        self.element_size = tensor.element_size


class _Cpu:
    type = "cpu"


def layout_of(kv_caches: Mapping[str, Any], layer_names: Sequence[str], num_blocks: int,
              staging: Staging | None = None) -> KvLayout:
    """The layout of the layers of one group. UnknownLayout for tensors that fit no rule.

    kv_caches: by layer name, a tensor each: [num_blocks, ...] in any strides, or [2, num_blocks, ...] with K and V
    apart. Where the attention kernel has smaller blocks than the tables, num_blocks is a divisor of the dimension.
    They are in memory of the CPU, or all on one device of torch.cuda.
    """
    tensors, dims, kinds = _tensors_of(kv_caches, layer_names, num_blocks)
    device = _device_of(tensors[0].device)
    try:
        recipe = KvPieces.from_tensors(list(map(_Shape, tensors)) if device else tensors, dims, memory_order=True)
    except (Error, ValueError) as error:
        raise UnknownLayout(f"layers '{layer_names[0]}' to '{layer_names[-1]}', {kinds[0]}: {error}") from None
    order = hashlib.sha256("|".join([recipe.signature, *kinds]).encode()).hexdigest()[:16]
    name = f"vllm:{len(tensors)}x{kinds[0]}:{order}"
    if device is None:
        return KvLayout(name, recipe)
    from .staging import StagedKv

    how = staging or Staging()
    staged = StagedKv(device, tensors, dims, pinned_bytes=how.pinned_bytes, step_blocks=how.step_blocks,
                      slot_bytes=how.slot_bytes)
    return KvLayout(name, staged, staged)


def _tensors_of(kv_caches: Mapping[str, Any], layer_names: Sequence[str],
                num_blocks: int) -> tuple[list[Any], list[int], list[str]]:
    """The layers' tensors, each once; which dimension of each counts blocks; what kind each is."""
    tensors: list[Any] = []
    dims: list[int] = []
    kinds: list[str] = []
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    for layer in layer_names:
        tensor: Any = kv_caches.get(layer)
        if not hasattr(tensor, "untyped_storage"):
            raise UnknownLayout(f"layer '{layer}' has {type(tensor).__name__} and not one KV tensor")
        what = f"layer '{layer}': {tensor.dtype} {tuple(tensor.shape)}, strides {tuple(tensor.stride())}"
        _check_device(tensor, what, tensors)
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
    return tensors, dims, kinds


def _check_device(tensor: Any, what: str, others: Sequence[Any]) -> None:
    if tensor.device.type not in ("cpu", "cuda"):
        raise UnknownLayout(f"{what}, on '{tensor.device.type}': KV is copied from memory of the CPU and of 'cuda' "
                            "devices, not of others in this version")
    if others and tensor.device != others[0].device:
        raise UnknownLayout(f"{what}, on '{tensor.device}': layers before it are on '{others[0].device}'")


def _device_of(device: Any) -> Device | None:
    """None for the CPU."""
    if device.type == "cpu":
        return None
    from .staging.cuda import CudaDevice

    return CudaDevice(device)


def _block_dim(shape: tuple[int, ...], num_blocks: int) -> int | None:
    """The blocks come first, or second behind K and V."""
    if len(shape) >= 2 and shape[0] >= num_blocks and shape[0] % num_blocks == 0:
        return 0
    if len(shape) >= 4 and shape[0] == 2 and shape[1] >= num_blocks and shape[1] % num_blocks == 0:
        return 1
    return None


def _without(shape: Sequence[int], dim: int) -> list[int]:
    return [int(n) for i, n in enumerate(shape) if i != dim]
