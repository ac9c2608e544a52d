"""Small helpers that engines import: timers, rounding, bytes and tensors."""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

_MASK_128 = (1 << 128) - 1
# The prime of FNV-1a for 128 bits, http://www.isthe.com/chongo/tech/comp/fnv/.
_PRIME_128 = (1 << 88) + 0x13B


def round_up(x: int, y: int) -> int:
    """The smallest multiple of ``y`` that is at least ``x``."""
    return -(-x // y) * y


def round_down(x: int, y: int) -> int:
    """The largest multiple of ``y`` that is at most ``x``."""
    return x // y * y


def tensor_to_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a contiguous tensor, wherever it is. ValueError if it is not contiguous."""
    if not tensor.is_contiguous():
        raise ValueError(f"the tensor must be contiguous, got the strides {tensor.stride()} of {tuple(tensor.shape)}")
    return tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def bytes_to_tensor(data: Any) -> torch.Tensor:
    """A uint8 tensor over a buffer, without copying; a read-only buffer must not be written through it."""
    if len(data) == 0:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(data, dtype=torch.uint8)


def buffer_to_tensor(addr: int, length: int) -> torch.Tensor:
    """A uint8 tensor over ``length`` bytes at the address ``addr``, which the caller keeps valid while it lives."""
    return torch.frombuffer((ctypes.c_uint8 * length).from_address(addr), dtype=torch.uint8)


@contextmanager
def cpu_perf_timer(enabled: bool = True) -> Iterator[Callable[[], float]]:
    """Measures what is inside by the clock: afterwards, calling what ``as`` gave answers milliseconds."""
    if not enabled:
        yield lambda: 0
        return
    start = end = time.perf_counter()
    try:
        yield lambda: (end - start) * 1000
    finally:
        end = time.perf_counter()


@contextmanager
def _gpu_perf_timer() -> Iterator[Callable[[], float]]:
    start, end = (
        torch.cuda.Event(enable_timing=True)
        for _ in range(2)
    )
    start.record()
    try:
        yield lambda: start.elapsed_time(end)
    finally:
        end.record()
        end.synchronize()


@functools.cache
def _has_gpu() -> bool:
    return torch.cuda.is_available()


def perf_timer() -> AbstractContextManager[Callable[[], float]]:
    """Measures what is inside, on the current GPU stream where there is a GPU: milliseconds, as in cpu_perf_timer."""
    # Asked at the first use, not at import: asking starts CUDA, and a process may fork in between.
    return _gpu_perf_timer() if _has_gpu() else cpu_perf_timer()


def ensure_dir_exist(path: str) -> None:
    """Makes the directory that the file ``path`` would lie in."""
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)


def hash_combine_128(hash1: int, hash2: int, prime: int = _PRIME_128) -> int:
    """One number of 128 bits out of two, as the rolling keys chain them (docs/identity.md)."""
    mixed = (hash1 ^ (hash2 + prime + (hash1 << 24) + (hash1 >> 4))) & _MASK_128
    return mixed * prime & _MASK_128


def human_readable_bytes(size: float) -> str:
    """A size for people: ``512 B``, ``1.5000 KB`` (units of 1024)."""
    if size < 1024:
        return f"{max(size, 0)} B"
    for unit in ("KB", "MB", "GB", "TB", "PB", "EB", "ZB"):
        size /= 1024
        if size < 1024:
            return f"{size:.4f} {unit}"
    return f"{size / 1024:.4f} YB"
