"""KV tensors as engines lay them out: for each layout, tensors of some layers and the dimension of their blocks."""

from __future__ import annotations

from typing import Any

import torch

BLOCKS = 6
Tensors = list[torch.Tensor]


def filled(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    count = 1
    for n in shape:
        count *= n
    return torch.arange(count, dtype=torch.int32).view(torch.float32).to(dtype).reshape(shape)


def of_blocks(tensor: torch.Tensor, dim: int, ids: list[int]) -> torch.Tensor:
    return tensor.index_select(dim, torch.tensor(ids))


def layered(layers: int, *shape: int) -> list[torch.Tensor]:
    """Views of one storage, one layer after the other."""
    return list(filled(layers, *shape))


def interleaved(layers: int, *shape: int) -> list[torch.Tensor]:
    """Views of one storage in which the layers of a block lie together: strided."""
    whole = filled(shape[0], layers, *shape[1:])
    return [whole[:, i] for i in range(layers)]


LAYOUTS = {
    "packed, layer first": (layered(3, BLOCKS, 2, 32, 64), 0),
    "packed, blocks first": (interleaved(3, BLOCKS, 2, 32, 64), 0),
    "K and V apart": ([filled(2, BLOCKS, 16, 2, 32) for _ in range(3)], 1),
    "K and V apart, blocks first in memory": (
        [filled(BLOCKS, 2, 16, 2, 32).transpose(0, 1) for _ in range(3)], 1),
    "heads before tokens": ([filled(BLOCKS, 2, 2, 16, 32).permute(0, 1, 3, 2, 4) for _ in range(2)], 0),
    "MLA": ([filled(BLOCKS, 16, 72) for _ in range(3)], 0),
    "MLA, padded": ([filled(BLOCKS, 16, 80)[:, :, :72] for _ in range(3)], 0),
    "bfloat16": ([filled(BLOCKS, 2, 32, 64, dtype=torch.bfloat16)], 0),
    "float8": ([filled(BLOCKS, 2, 32, 64).to(torch.float8_e4m3fn)], 0),
    "smaller blocks of the kernel": ([filled(BLOCKS * 4, 2, 16, 32)], 0),
    "smaller blocks of the kernel, K and V apart": ([filled(2, BLOCKS * 4, 16, 2, 32)], 1),
}


def picked(layers: list[int], *shape: int) -> Tensors:
    """Some views of one storage."""
    whole = filled(*shape)
    return [whole[i] for i in layers]


MORE: dict[str, tuple[Tensors, int]] = {
    "heads outermost": ([t.transpose(0, 1) for t in filled(3, 2, BLOCKS, 16, 64)], 0),
    "blocks, heads, layers": ([t.transpose(1, 2) for t in interleaved(2, BLOCKS, 3, 16, 64)], 0),
    "fp8 with scales": ([filled(BLOCKS, 16, 164).view(torch.uint8) for _ in range(3)], 0),
    "odd sizes": ([filled(BLOCKS, 7).view(torch.uint8)[:, :n] for n in (13, 5, 28)], 0),
    "odd before even": ([filled(BLOCKS, 3).view(torch.uint8)[:, :5], filled(BLOCKS, 4, 8, dtype=torch.bfloat16)], 0),
    "nothing contiguous": ([filled(BLOCKS, 8, 8, dtype=torch.bfloat16)[:, :, ::2]], 0),
    "at unequal distances": (picked([0, 1, 4, 5, 8], 9, BLOCKS, 16), 0),
    "backwards": (picked([3, 2, 1, 0], 4, BLOCKS, 16), 0),
    "gaps everywhere": ([filled(2 * BLOCKS, 5, 6, 19)[::2, :4, 1::2, 2:18] for _ in range(2)], 0),
    "layers in each token": (list(filled(2, BLOCKS, 4, 3, 2, 16).unbind(3)), 1),
    "layers of two kinds": ([filled(BLOCKS, 16, 72), filled(BLOCKS, 2, 16, 32, dtype=torch.bfloat16)], 0),
}
TABLE_OF_DIMS = {**LAYOUTS, **MORE}
TABLE = {name: tensors for name, (tensors, _) in TABLE_OF_DIMS.items()}


def fresh(tensors: Tensors, seed: int = 0, device: str = "cpu") -> Tensors:
    """Tensors that lie as these do, over memory of their own that holds random bytes, gaps included."""
    generator = torch.Generator().manual_seed(seed)
    copies: dict[int, Any] = {}
    out = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in copies:
            copies[storage.data_ptr()] = torch.randint(
                0, 256, (storage.nbytes(),), generator=generator, dtype=torch.uint8).to(device).untyped_storage()
        out.append(torch.empty(0, dtype=tensor.dtype, device=device).set_(
            copies[storage.data_ptr()], tensor.storage_offset(), tensor.shape, tensor.stride()))
    return out


def memory(tensors: Tensors) -> list[bytes]:
    """All bytes behind the tensors, gaps included."""
    flat = [torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage()) for t in tensors]
    return [each.cpu().numpy().tobytes() for each in flat]


def named(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {f"model.layers.{i}.attn": t for i, t in enumerate(tensors)}
