"""What a block of the KV cache is made of: tokens, layers, heads, dtype, and in which order they lie."""

from __future__ import annotations

import enum
import operator
from dataclasses import dataclass, field
from typing import Any

import torch

from . import envs


def _positive(name: str, value: Any) -> None:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}") from None
    if count <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")


@dataclass
class KVCacheTensorSpec:
    """Which part of a model's KV cache a process holds.

    heads: ids of the KV heads (tensor parallelism), as many as the process has. ValueError if there is none.
    layers: ids of the layers (pipeline parallelism). ValueError if there is none.
    head_size: elements of one head of one token. ValueError unless positive.
    """

    heads: list[int]
    layers: list[int]
    head_size: int

    def __post_init__(self) -> None:
        for name in ("heads", "layers"):
            ids = getattr(self, name)
            if len(ids) == 0:
                raise ValueError(f"there must be at least one of {name}, got {ids!r}")
        _positive("head_size", self.head_size)


class KVCacheBlockLayout(enum.Enum):
    """In which order a block holds its elements; 2 is K and V.

    NCLD: [tokens, 2, layers, heads, head_size]: all of a token lies together.
    LCND: [layers, 2, tokens, heads, head_size]: all of a layer lies together.
    """

    NCLD = enum.auto()
    LCND = enum.auto()


@dataclass
class KVCacheBlockSpec:
    """What a block is made of.

    block_ntokens: tokens of a block of the engine. AIBRIX_KV_CACHE_OL_BLOCK_SIZE, if positive, takes its place for the
        blocks of the cache; it must be a power of two (AssertionError). ValueError unless positive.
    block_dtype: dtype of the elements (TypeError if it is none).
    block_layout: their order (TypeError if it is none).
    tensor_spec: the part of the model.

    From these follow, for blocks of the cache and (engine_*) of the engine: block_shape, block_nbytes (bytes),
    block_shape_token_dim (which dimension of the shape is that of the tokens), signature (layout and tokens as text).
    """

    block_ntokens: int
    block_dtype: torch.dtype
    block_layout: KVCacheBlockLayout
    tensor_spec: KVCacheTensorSpec
    engine_block_ntokens: int = field(init=False, repr=False)
    block_nbytes: int = field(init=False, repr=False)
    engine_block_nbytes: int = field(init=False, repr=False)
    block_shape: tuple[int, ...] = field(init=False, repr=False)
    engine_block_shape: tuple[int, ...] = field(init=False, repr=False)
    block_shape_token_dim: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _positive("block_ntokens", self.block_ntokens)
        if not isinstance(self.block_dtype, torch.dtype):
            raise TypeError(f"block_dtype must be a torch.dtype, got {self.block_dtype!r}")
        if not isinstance(self.block_layout, KVCacheBlockLayout):
            raise TypeError(f"block_layout must be KVCacheBlockLayout.NCLD or .LCND, got {self.block_layout!r}")
        self.engine_block_ntokens = self.block_ntokens
        wanted = envs.AIBRIX_KV_CACHE_OL_BLOCK_SIZE
        if wanted > 0:
            if wanted & (wanted - 1):
                raise AssertionError(f"AIBRIX_KV_CACHE_OL_BLOCK_SIZE must be a power of two, got {wanted}")
            self.block_ntokens = wanted
        self.block_nbytes = self._nbytes(self.block_ntokens)
        self.engine_block_nbytes = self._nbytes(self.engine_block_ntokens)
        self.block_shape = self._shape(self.block_ntokens)
        self.engine_block_shape = self._shape(self.engine_block_ntokens)
        self.block_shape_token_dim = 0 if self.block_layout is KVCacheBlockLayout.NCLD else 2

    def _shape(self, ntokens: int) -> tuple[int, ...]:
        spec = self.tensor_spec
        if self.block_layout is KVCacheBlockLayout.NCLD:
            return (ntokens, 2, len(spec.layers), len(spec.heads), spec.head_size)
        return (len(spec.layers), 2, ntokens, len(spec.heads), spec.head_size)

    def _nbytes(self, ntokens: int) -> int:
        spec = self.tensor_spec
        return 2 * ntokens * len(spec.layers) * len(spec.heads) * spec.head_size * self.block_dtype.itemsize

    @property
    def signature(self) -> str:
        """Layout and tokens of a block of the cache, e.g. ``lcnd16``."""
        return f"{self.block_layout.name.lower()}{self.block_ntokens}"


@dataclass
class ModelSpec:
    """Limits of the model.

    max_model_len: tokens of the longest sequence, prompt and output. ValueError unless positive.
    max_num_batched_tokens: tokens of one step of the engine; 0 or less stands for the cache's chunk size.
    """

    max_model_len: int
    max_num_batched_tokens: int = -1

    def __post_init__(self) -> None:
        _positive("max_model_len", self.max_model_len)
