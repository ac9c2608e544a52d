"""What the tests of managers share: an environment, managers, prompts, blocks whose bytes follow from their tokens."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

import numpy as np
import torch

from aibrix_kvcache import (
    BaseKVCacheManager,
    BlockHashes,
    KVCacheConfig,
    MemoryRegionKVCacheHandle,
    TokenListView,
)
from aibrix_kvcache.spec import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec, ModelSpec

PREFIX = "AIBRIX_KV_CACHE_OL_"
NTOKENS = 4
AMPLE = 1 << 20


@contextlib.contextmanager
def environment(**values: object) -> Iterator[None]:
    """The variables of the package are these, without their prefix, and no others."""
    before = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    wanted = {PREFIX + name: str(value) for name, value in values.items()}
    _replace(wanted)
    try:
        yield
    finally:
        _replace(before)


def _replace(wanted: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(wanted)


def gib(nbytes: int) -> str:
    """As L1_CACHE_CAPACITY_GB wants it, to the byte."""
    return repr(nbytes / (1 << 30))


def spec_of(layout: str = "NCLD", ntokens: int = NTOKENS, dtype: torch.dtype = torch.float32) -> KVCacheBlockSpec:
    """512 bytes a block of 4 tokens of 4 bytes."""
    tensors = KVCacheTensorSpec(heads=[0, 1], layers=[0, 1], head_size=4)
    return KVCacheBlockSpec(ntokens, dtype, KVCacheBlockLayout[layout], tensors)


BLOCK_NBYTES = 512


@contextlib.contextmanager
def manager(
    spec: KVCacheBlockSpec | None = None, *, capacity: int = AMPLE, cls: type = BaseKVCacheManager, **env: object
) -> Iterator[BaseKVCacheManager]:
    """A manager with `capacity` bytes of L1, and the environment it was made in, until the end of the block."""
    env.setdefault("L1_CACHE_CAPACITY_GB", gib(capacity))
    env.setdefault("L2_CACHE_PER_TOKEN_TIMEOUT_MS", 5000)
    with environment(**env):
        made = cls(KVCacheConfig(spec or spec_of(), ModelSpec(4096)))
        try:
            yield made
        finally:
            made.close()


def content(tokens: tuple[int, ...], nbytes: int = BLOCK_NBYTES) -> bytes:
    """What the last block of a prompt of these tokens holds."""
    digest = hashlib.sha256(np.asarray(tokens, "<i4").tobytes()).digest()
    return (digest * -(-nbytes // len(digest)))[:nbytes]


def blocks_of(tokens: list[int], start: int = 0, ntokens: int = NTOKENS) -> list[tuple[int, ...]]:
    """The complete blocks behind the first `start` tokens, each named by all tokens up to its end."""
    return [tuple(tokens[:end]) for end in range(start + ntokens, len(tokens) + 1, ntokens)]


def fill(tensors: list[torch.Tensor], names: list[tuple[int, ...]]) -> None:
    for tensor, name in zip(tensors, names, strict=True):
        data = np.frombuffer(content(name, tensor.numel() * tensor.itemsize), np.uint8)
        tensor.view(torch.uint8).flatten().copy_(torch.from_numpy(data.copy()))
        if not tensor.is_contiguous():  # flatten() would have copied.
            raise AssertionError("a block's tensor is contiguous")


def data_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def own_handle(spec: KVCacheBlockSpec, count: int, names: list[tuple[int, ...]] | None = None):
    """An engine's memory for `count` blocks, filled if `names` says with what: its tensors and a handle."""
    tensors = [torch.zeros(spec.block_shape, dtype=spec.block_dtype) for _ in range(count)]
    if names is not None:
        fill(tensors, names)
    return tensors, MemoryRegionKVCacheHandle.create(tensors, spec, [(i, 0) for i in range(count)])


def as_tokens(tokens: list[int], prefix: int):
    """Prefix and query as views of one array."""
    whole = TokenListView(tokens)
    return (whole[:prefix] if prefix else None), whole[prefix:]


def as_hashes(tokens: list[int], prefix: int, ntokens: int = NTOKENS):
    """The same as an engine's block hashes, each over all tokens up to its block's end."""
    names = blocks_of(tokens, 0, ntokens)
    whole = BlockHashes([hashlib.sha256(repr(name).encode()).hexdigest() for name in names], ntokens)
    return (whole[:prefix] if prefix else None), whole[prefix:]


def put_prompt(cache: BaseKVCacheManager, tokens: list[int], prefix: int = 0, form=as_tokens):
    """Stores all complete blocks behind the first `prefix` tokens, out of an engine's memory."""
    names = blocks_of(tokens, prefix, cache.block_ntokens)
    _, handle = own_handle(cache.block_spec, len(names), names)
    return cache.put(*form(tokens, prefix), handle)


def check_handle(handle, names: list[tuple[int, ...]]) -> None:
    """Every byte of the handle, as tensors and as regions."""
    assert len(handle) <= len(names)
    for tensor, region, name in zip(handle.to_tensors(), handle.memory_regions, names, strict=False):
        expected = content(name, region.length)
        assert data_of(tensor) == expected
        assert region.tobytes() == expected


def acquired(cache: BaseKVCacheManager, tokens: list[int], prefix: int = 0, form=as_tokens) -> int:
    """How many tokens `acquire` finds, all their bytes checked; 0 for NOT_FOUND."""
    status = cache.acquire(*form(tokens, prefix))
    if status.is_not_found():
        return 0
    assert status.is_ok(), status
    count, handle = status.get()
    assert count == len(handle) * cache.block_ntokens
    check_handle(handle, blocks_of(tokens, prefix, cache.block_ntokens))
    handle.release()
    return count
