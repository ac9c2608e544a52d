"""Faults in what is kept: memory that is never given back, and things that grow without end."""

from __future__ import annotations

import gc
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

from registry import defect
from rig import (
    arranged,
    block_spec,
    fill,
    l1_capacity,
    l2_only,
    manager,
    must_store,
    own_buffers,
    put,
    setenv,
    shfs,
    slow_backend,
    store,
    tokens,
    view,
)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@defect("2", "after get, blocks that were found can never be used for anything else")
def get_leaks(folder: Path) -> None:
    spec = block_spec()
    setenv(L1_CACHE_EVICTION_POLICY="LRU", CHUNK_SIZE=64)
    l1_capacity(8 * spec.block_nbytes)
    with manager(spec) as cache:
        must_store(cache, None, view(tokens(8)), range(8))
        _, buffers = own_buffers(spec, 8)
        for _ in range(3):
            status = cache.get(None, view(tokens(8)), buffers)
            arranged(status.is_ok() and status.get() == 128, f"get answered {status}")
        for seed in range(1, 25):
            status = cache.allocate_for(None, view(tokens(1, seed)))
            assert status.is_ok(), f"nobody holds a block, and allocate_for answers {status}"
            fill(status.get(), [seed])
            put(cache, None, view(tokens(1, seed)), status.get())


@defect("4", "a backend that fails a batch of writes: an exception leaves put, and the blocks are lost to the pool")
def failed_write(folder: Path) -> None:
    root = folder / "root"
    shfs(root)
    with manager() as cache:
        must_store(cache, None, view(tokens(2)), [1, 2])
        shutil.rmtree(root)
        root.write_bytes(b"")  # A file where the backend's folder was: nothing can be written below it.
        for seed in range(1, 33):
            store(cache, None, view(tokens(4, seed)), [1, 2, 3, 4])


@defect("5", "an asynchronous put that is refused for its quota loses the blocks to the pool", seconds=60)
def refused_write(folder: Path) -> None:
    l2_only(L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS=64, L2_CACHE_NUM_ASYNC_WORKERS=8)
    slow_backend(0.05, calls=["put"])
    with manager(max_model_len=256) as cache:
        before = _allocatable(cache)
        answers = []
        for seed in range(before):
            allocated = cache.allocate_for(None, view(tokens(1, seed)))
            arranged(allocated.is_ok(), f"allocate_for answered {allocated} for block {seed} of {before}")
            answers.append(put(cache, None, view(tokens(1, seed)), allocated.get()))
        flushed = cache.flush()
        arranged(flushed.is_ok(), f"flush answered {flushed}")
        after = _allocatable(cache)
        refused = sum(status.is_denied() for status in answers)
        assert after >= before, f"{refused} of {before} puts were refused, and now {after} blocks can be allocated"


def _allocatable(cache: Any, most: int = 64) -> int:
    """How many blocks the cache would hand out now, up to `most`."""
    handles = []
    while len(handles) < most:
        allocated = cache.allocate_for(None, view(tokens(1, seed=1000 + len(handles))))
        if not allocated.is_ok():
            break
        handles.append(allocated.get())
    for handle in handles:
        handle.release()
    return len(handles)


@defect("6", "S3FIFO remembers every block it ever evicted, with the whole prompt it belonged to", seconds=120)
def ghosts(folder: Path) -> None:
    spec = block_spec()
    setenv(L1_CACHE_EVICTION_POLICY="S3FIFO")
    l1_capacity(64 * spec.block_nbytes)
    with manager(spec, max_model_len=65536) as cache:

        def churn(seeds: range) -> None:
            for seed in seeds:  # The last 8 blocks of a prompt of 512, as its decoding would store them.
                whole = view(tokens(512, seed))
                cut = 504 * 16
                store(cache, whole[:cut], whole[cut:], [1] * 8)

        churn(range(50))
        before = resident_bytes()
        churn(range(50, 1050))
        grown = resident_bytes() - before
        assert grown < 8 << 20, f"a cache of 64 blocks grew by {grown >> 20} MiB while 8,000 blocks passed through it"


@defect("13", "metrics that nobody reads grow with every call", seconds=60)
def metrics_grow(folder: Path) -> None:
    spec, prompt = block_spec(), view(tokens(1))
    l1_capacity(64 * spec.block_nbytes)
    with manager(spec) as cache:

        def ask(times: int) -> int:
            for _ in range(times):
                cache.exists(None, prompt)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        ask(1000)
        tracemalloc.start()
        before = ask(1000)
        grown = ask(20_000) - before
        assert grown < 64 << 10, f"20,000 calls of exists left {grown >> 10} KiB behind"


@defect("14", "room that cannot be made because all is held: the whole cache is forgotten for it")
def pinned_blocks(folder: Path) -> None:
    spec = block_spec()
    one, two = tokens(4, seed=1), tokens(4, seed=2)
    setenv(L1_CACHE_EVICTION_POLICY="LRU", CHUNK_SIZE=64)
    l1_capacity(8 * spec.block_nbytes)
    with manager(spec) as cache:
        must_store(cache, None, view(one), [1] * 4)
        must_store(cache, None, view(two), [2] * 4)
        held = [cache.acquire(None, view(prompt)) for prompt in (one, two)]
        arranged([status.get()[0] for status in held] == [64, 64], f"acquire answered {held}")
        wanted = cache.allocate_for(None, view(tokens(1, seed=3)))
        if wanted.is_ok():
            wanted.get().release()
        for status in held:
            status.get()[1].release()
        left = [cache.exists(None, view(prompt)).get(default=0) for prompt in (one, two)]
        assert left == [64, 64], f"8 blocks were held while one more was asked for; found of them afterwards: {left}"
