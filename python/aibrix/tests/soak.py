"""Random operations for a while, every byte checked, memory bounded, no lease left.

    python soak.py [--seconds 60] [--seed N]

Several threads share two managers: a tiny L1 alone, keyed by block hashes, and a tiny L1 before a slow L2, keyed by
tokens. What a block holds follows from its tokens alone, so every read is checked whoever stored the block. The last
line is `1 passed, 0 failed`, or the other way round after a sentence.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import torch

from aibrix_kvcache import (
    BaseKVCacheManager,
    BlockHashes,
    KVCacheBlockLayout,
    KVCacheBlockSpec,
    KVCacheConfig,
    KVCacheTensorSpec,
    MemoryRegionKVCacheHandle,
    ModelSpec,
    TokenListView,
)

PREFIX = "AIBRIX_KV_CACHE_OL_"
BLOCK = 16
DOCUMENTS, LONGEST = 40, 24
TRACED_BOUND = 4 << 20
RESIDENT_BOUND = 48 << 20
SPEC = KVCacheBlockSpec(
    BLOCK, torch.float32, KVCacheBlockLayout.LCND, KVCacheTensorSpec(heads=[0], layers=[0], head_size=8)
)  # 1 KiB a block


class WrongError(Exception):
    """What must not happen did."""


class Worker:
    """The operations of one thread on one manager."""

    def __init__(self, cache: BaseKVCacheManager, hashed: bool, seed: int) -> None:
        self.cache, self.hashed, self.random = cache, hashed, random.Random(seed)
        self.done = 0
        self._held: list[tuple[Any, list[float]]] = []

    def step(self) -> None:
        pick = self.random.choices(
            (self.put, self.abandon, self.acquire, self.get, self.exists, self.delete, self.release),
            (30, 5, 30, 15, 8, 2, 10),
        )[0]
        pick()
        self.done += 1

    def _pick(self) -> tuple[Any, Any, list[float]]:
        """(prefix, query, what the query's blocks hold), as views of one array as engines make them."""
        document = self.random.randrange(DOCUMENTS)
        end = self.random.randint(1, LONGEST)
        start = self.random.randrange(end)
        if self.hashed:
            whole: Any = BlockHashes([f"{document:032x}{i:032x}" for i in range(end)], BLOCK)
        else:
            whole = TokenListView([document * 100_000 + i for i in range(end * BLOCK)])
        values = [float(document * 1000 + i) for i in range(start, end)]
        return (whole[: start * BLOCK] if start else None), whole[start * BLOCK :], values

    def _check(self, tensors: Any, values: list[float], how: str) -> None:
        for i, tensor in enumerate(tensors):
            if not bool((tensor == values[i]).all()):
                raise WrongError(f"{how}: block {i} should be full of {values[i]}, it begins {tensor.flatten()[:4]}")

    def _allocated(self) -> tuple[Any, Any, Any, list[float]]:
        prefix, query, values = self._pick()
        status = self.cache.allocate_for(prefix, query)
        return prefix, query, status.get() if status.is_ok() else None, values

    def put(self) -> None:
        prefix, query, handle, values = self._allocated()
        if handle is None:
            return
        for tensor, value in zip(handle.to_tensors(), values, strict=False):
            tensor.fill_(value)
        self.cache.put(prefix, query, handle)

    def abandon(self) -> None:
        """Allocated, half filled, and given up: released, or just forgotten."""
        _, _, handle, _ = self._allocated()
        if handle is not None:
            handle.to_tensors()[0].fill_(-1)
            if self.random.random() < 0.5:
                handle.release()

    def acquire(self) -> None:
        prefix, query, values = self._pick()
        status = self.cache.acquire(prefix, query)
        if not status.is_ok():
            return
        _, handle = status.get()
        self._check(handle.to_tensors(), values, "acquire")
        fate = self.random.random()
        if fate < 0.2 and len(self._held) < 3:
            self._held.append((handle, values))
        elif fate < 0.3:
            handle.truncate(len(handle) // 2)
            handle.release()
        elif fate < 0.95:
            handle.release()  # The others are forgotten.

    def release(self) -> None:
        if self._held:
            handle, values = self._held.pop(self.random.randrange(len(self._held)))
            self._check(handle.to_tensors(), values, "a handle that was held")
            handle.release()

    def get(self) -> None:
        prefix, query, values = self._pick()
        buffer = torch.full((len(values), *SPEC.block_shape), -7.0)
        handle = MemoryRegionKVCacheHandle.create([buffer], SPEC, [(0, i) for i in range(len(values))])
        status = self.cache.get(prefix, query, handle)
        if status.is_ok():
            self._check(buffer[: status.get() // BLOCK], values, "get")

    def exists(self) -> None:
        prefix, query, _ = self._pick()
        found = self.cache.exists(prefix, query).get(default=0)
        if not 0 <= found <= len(query):
            raise WrongError(f"exists answered {found} for {len(query)} tokens")

    def delete(self) -> None:
        prefix, query, _ = self._pick()
        self.cache.delete(prefix, query)

    def finish(self) -> None:
        while self._held:
            self.release()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make(l2: str) -> BaseKVCacheManager:
    os.environ[PREFIX + "L1_CACHE_CAPACITY_GB"] = repr((256 << 10) / 2**30)
    os.environ[PREFIX + "L2_CACHE_BACKEND"] = "REPRISE" if l2 else ""
    os.environ[PREFIX + "REPRISE_URL"] = l2
    os.environ[PREFIX + "L2_CACHE_INGESTION_TYPE"] = "ALL"
    os.environ[PREFIX + "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS"] = "1024"
    os.environ[PREFIX + "L2_CACHE_PER_TOKEN_TIMEOUT_MS"] = "1"
    os.environ[PREFIX + "FLUSH_TIMEOUT_S"] = "10"
    return BaseKVCacheManager(KVCacheConfig(SPEC, ModelSpec(4096), multi_threaded=True))


def leases(cache: BaseKVCacheManager) -> int:
    return int(cache._tiers._cache.stats().leases)  # type: ignore[attr-defined]  Nothing public says it.


def churn(workers: list[Worker], until: float) -> None:
    """Every worker on a thread of its own. Raises the first thing that went wrong."""
    wrong: list[BaseException] = []

    def work(worker: Worker) -> None:
        try:
            while time.monotonic() < until and not wrong:
                worker.step()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(until - time.monotonic() + 120)
        if thread.is_alive():
            raise WrongError("a thread is stuck in a call two minutes after the end")
    if wrong:
        raise wrong[0]


def bounded(before: tuple[int, int], after: tuple[int, int]) -> None:
    bounds = (TRACED_BOUND, RESIDENT_BOUND)
    for what, first, last, bound in zip(("traced", "resident"), before, after, bounds, strict=True):
        if last - first > bound:
            raise WrongError(f"{what} memory grew from {first >> 10} to {last >> 10} KiB")


def memory() -> tuple[int, int]:
    gc.collect()
    return tracemalloc.get_traced_memory()[0], resident()


def soak(seconds: float, seed: int) -> str:
    caches = [make(""), make("mock:?delay=2ms&capacity=1MiB")]
    workers = [Worker(caches[i % 2], i % 2 == 0, seed + i) for i in range(4)]
    tracemalloc.start()
    start = time.monotonic()
    churn(workers, start + seconds / 4)
    before = memory()
    churn(workers, start + seconds)
    after = memory()
    for worker in workers:
        worker.finish()
    bounded(before, after)
    gc.collect()
    left = [leases(cache) for cache in caches]
    if any(left):
        raise WrongError(f"{left} leases are left, and nobody holds a handle")
    for cache in caches:
        cache.close()
    grown = [(last - first) >> 10 for first, last in zip(before, after, strict=True)]
    return f"{sum(worker.done for worker in workers)} operations; traced {grown[0]:+} KiB, resident {grown[1]:+} KiB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    try:
        sys.stdout.write(soak(given.seconds, given.seed) + "\n1 passed, 0 failed\n")
    except Exception as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n0 passed, 1 failed\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
