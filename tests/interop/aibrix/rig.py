"""What the probes stand on: managers, keys, blocks and answers through the public API of `aibrix_kvcache`.

It works with the original package and with the one of this tree. The two differ here only where a backend has to
misbehave, which no public call can ask for: `slow_backend`.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PREFIX = "AIBRIX_KV_CACHE_OL_"
BLOCK_TOKENS = 16
OURS = importlib.util.find_spec("reprise") is not None


class NotArrangedError(Exception):
    """The situation could not be brought about, which says nothing about the fault."""


def arranged(holds: bool, says: str) -> None:
    if not holds:
        raise NotArrangedError(says)


def setenv(**values: object) -> None:
    """Sets variables of the package, named without their prefix; they are read when a manager is made."""
    os.environ.update({PREFIX + name: str(value) for name, value in values.items()})


def l1_capacity(nbytes: int) -> None:
    """Bounds L1."""
    setenv(L1_CACHE_CAPACITY_GB=repr(nbytes / 2**30))
    pool(nbytes)


def pool(nbytes: int) -> None:
    """Keeps the original from rounding its memory up to whole slabs of 1 GiB; ours has none that is rounded."""
    if not OURS:
        from aibrix_kvcache.memory import TensorPoolAllocator

        TensorPoolAllocator.SLAB_MAX_NBYTES = nbytes


def block_spec(block_ntokens: int = BLOCK_TOKENS, dtype: str = "float32", head_size: int = 8) -> Any:
    """One layer and one head: 64 bytes a token with the defaults, so blocks of 1 KiB."""
    import torch

    from aibrix_kvcache import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec

    tensor_spec = KVCacheTensorSpec(heads=[0], layers=[0], head_size=head_size)
    return KVCacheBlockSpec(block_ntokens, getattr(torch, dtype), KVCacheBlockLayout.LCND, tensor_spec)


@contextmanager
def manager(spec: Any = None, max_model_len: int = 4096) -> Iterator[Any]:
    """A manager as the environment says now, closed at the end."""
    from aibrix_kvcache import BaseKVCacheManager, KVCacheConfig, ModelSpec, cache_manager

    if not OURS:
        cache_manager.TESTING_DISABLE_PIN_MEMORY = True  # Pinning needs a GPU's driver.
    made = BaseKVCacheManager(KVCacheConfig(spec or block_spec(), ModelSpec(max_model_len)))
    try:
        yield made
    finally:
        made.close()


def tokens(blocks: int, seed: int = 0, block_ntokens: int = BLOCK_TOKENS) -> list[int]:
    """Tokens that agree with those of no other seed in any block."""
    return [seed * 100_000 + i for i in range(blocks * block_ntokens)]


def view(values: Sequence[int]) -> Any:
    """A new TokenListView over an array of its own."""
    from aibrix_kvcache import TokenListView

    return TokenListView(list(values))


def fill(handle: Any, values: Iterable[float]) -> None:
    """Block i becomes values[i] throughout."""
    for tensor, value in zip(handle.to_tensors(), values, strict=False):
        tensor.fill_(value)


def store(cache: Any, prefix: Any, query: Any, values: Sequence[float]) -> Any:
    """allocate_for, fill, put; answers put's status."""
    allocated = cache.allocate_for(prefix, query)
    assert allocated.is_ok(), f"nobody holds a block, and allocate_for answered {allocated}"
    handle = allocated.get()
    fill(handle, values)
    return put(cache, prefix, query, handle)


def put(cache: Any, prefix: Any, query: Any, handle: Any) -> Any:
    """put, which answers a status and raises nothing."""
    try:
        return cache.put(prefix, query, handle)
    except Exception as error:
        raise AssertionError(f"put raised {error!r}") from error


def must_store(cache: Any, prefix: Any, query: Any, values: Sequence[float]) -> None:
    """A store that is part of the arrangement, not of the claim; waits for the backend."""
    status = store(cache, prefix, query, values)
    arranged(status.is_ok() and status.get() == len(query), f"put answered {status} for {len(query)} tokens")
    flushed = cache.flush()
    arranged(flushed.is_ok(), f"flush answered {flushed}")


def read(cache: Any, prefix: Any, query: Any) -> list[float | str]:
    """What acquire serves, block by block: the value a block is full of, or "mixed"; empty for every miss."""
    status = cache.acquire(prefix, query)
    if not status.is_ok():
        return []
    ntokens, handle = status.get()
    assert ntokens == len(handle) * cache.block_size, f"{ntokens} tokens, but a handle of {len(handle)} blocks"
    served = contents(handle.to_tensors())
    handle.release()
    return served


def contents(tensors: Iterable[Any]) -> list[float | str]:
    """The one value each tensor is full of, or "mixed"."""
    served: list[float | str] = []
    for tensor in tensors:
        first = float(tensor.flatten()[0])
        served.append(first if bool((tensor == first).all()) else "mixed")
    return served


def own_buffers(spec: Any, blocks: int, value: float = 0.0) -> tuple[Any, Any]:
    """Memory of the caller's, full of `value`: a tensor of `blocks` blocks, and the handle over it for get and put."""
    import torch

    from aibrix_kvcache import MemoryRegionKVCacheHandle

    buffer = torch.full((blocks, *spec.block_shape), value, dtype=spec.block_dtype)
    handle = MemoryRegionKVCacheHandle.create([buffer], spec, [(0, i) for i in range(blocks)])
    return buffer, handle


def l2_only(**more: object) -> None:
    """L2 alone, in this process's memory unless told otherwise."""
    setenv(**{"L1_CACHE_ENABLED": 0, "L2_CACHE_BACKEND": "MOCK", "CHUNK_SIZE": 64, **more})
    pool(16 << 10)  # Last: it imports the package, which reads some of the environment then.


def shfs(root: Path, **more: object) -> None:
    """L2 alone, in files below `root`."""
    l2_only(**{"L2_CACHE_BACKEND": "SHFS", "SHFS_ROOT": root, **more})


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def slow_backend(seconds: float, calls: Sequence[str] = ("exists", "get", "put", "delete")) -> None:
    """The mock backend takes `seconds` for each call; here for every kind of call, in the original for `calls`."""
    if OURS:
        setenv(L2_CACHE_BACKEND="REPRISE", REPRISE_URL=f"mock:?delay={int(seconds * 1000)}ms")
        return
    from aibrix_kvcache.l2.connectors.mock import MockConnector

    setenv(L2_CACHE_BACKEND="MOCK")
    for name in calls:
        at_once = getattr(MockConnector, "_" + name)

        def late(self: Any, *args: Any, _at_once: Any = at_once) -> Any:
            time.sleep(seconds)
            return _at_once(self, *args)

        setattr(MockConnector, "_" + name, late)
