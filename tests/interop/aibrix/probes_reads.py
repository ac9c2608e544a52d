"""Faults in what is read: wrong bytes served as a hit, or written where nobody may write any more."""

from __future__ import annotations

import time
from pathlib import Path

from registry import defect
from rig import (
    arranged,
    block_spec,
    contents,
    files_below,
    fill,
    l1_capacity,
    l2_only,
    manager,
    must_store,
    own_buffers,
    read,
    setenv,
    shfs,
    slow_backend,
    tokens,
    view,
)


@defect("1", "get with part of the blocks in L1 leaves that part of the caller's buffer untouched")
def partial_get(folder: Path) -> None:
    spec, prompt = block_spec(), tokens(4)
    setenv(DOUBLE_GET_THRESHOLD=0, L2_CACHE_INGESTION_TYPE="ALL")
    shfs(folder)
    with manager(spec) as writer:
        must_store(writer, None, view(prompt), [1, 2, 3, 4])
    setenv(L1_CACHE_ENABLED=1, L1_CACHE_EVICTION_POLICY="LRU")
    l1_capacity(64 * spec.block_nbytes)
    with manager(spec) as cache:
        arranged(read(cache, None, view(prompt[:32])) == [1, 2], "the first two blocks do not come into L1")
        buffer, handle = own_buffers(spec, 4)
        status = cache.get(None, view(prompt), handle)
        assert status.is_ok(), f"get answered {status}"
        expected = [1, 2, 3, 4][: status.get() // 16]
        got = contents(buffer)[: len(expected)]
        assert got == expected, f"get answered OK with {status.get()} tokens, but of {expected} the buffer holds {got}"


@defect("3", "a hole at the front: the blocks behind it are counted, and garbage is served as the first block")
def hole_in_batch(folder: Path) -> None:
    prompt = tokens(4)
    l2_only(MOCK_USE_MPUT_MGET=1)
    with manager() as cache:
        must_store(cache, None, view(prompt), [1, 2, 3, 4])
        cache.delete(None, view(prompt[:16]))
        served = read(cache, None, view(prompt))
        assert served == [], f"the first block is gone, and acquire serves {served}"


@defect("3", "a batch that came back short does not end the run: a hole in the middle is skipped over")
def hole_between_batches(folder: Path) -> None:
    prompt = tokens(8)
    l2_only(MOCK_USE_MPUT_MGET=1, L2_CACHE_OP_BATCH=4)
    with manager() as cache:
        must_store(cache, None, view(prompt), [1, 2, 3, 4, 5, 6, 7, 8])
        whole = view(prompt)
        cache.delete(whole[:32], whole[32:48])
        served = read(cache, None, view(prompt))
        assert served == [1, 2], f"block 2 of 8 is gone, so acquire may serve [1, 2], and it serves {served}"


@defect("16", "a get that timed out writes into the caller's buffer later")
def late_write(folder: Path) -> None:
    spec, prompt = block_spec(), tokens(2)
    l2_only(L2_CACHE_PER_TOKEN_TIMEOUT_MS=10)
    slow_backend(1.0, calls=["get"])
    with manager(spec) as cache:
        must_store(cache, None, view(prompt), [1, 2])
        buffer, handle = own_buffers(spec, 2, value=-1)
        status = cache.get(None, view(prompt), handle)
        arranged(not status.is_ok(), f"the backend takes 1 s, and get answered {status} within .32 s")
        buffer.fill_(-7)  # The caller was told there is nothing, and uses its memory for something else.
        time.sleep(2.5)
        assert contents(buffer) == [-7, -7], f"get had answered {status}; later the buffer changed: {contents(buffer)}"


@defect("16", "an acquire that timed out fills blocks later that were given to somebody else by then")
def late_write_into_reused(folder: Path) -> None:
    spec, prompt = block_spec(), tokens(2)
    l2_only(L2_CACHE_PER_TOKEN_TIMEOUT_MS=10)
    slow_backend(1.0, calls=["get"])
    with manager(spec) as cache:
        must_store(cache, None, view(prompt), [1, 2])
        arranged(not cache.acquire(None, view(prompt)).is_ok(), "acquire did not time out")
        handles = []
        for seed in range(1, 257):  # Everything the pool still has.
            status = cache.allocate_for(None, view(tokens(1, seed)))
            if not status.is_ok():
                break
            fill(status.get(), [-7])
            handles.append(status.get())
        time.sleep(2.5)
        changed = [found for handle in handles for found in contents(handle.to_tensors()) if found != -7]
        for handle in handles:
            handle.release()
        assert not changed, f"blocks that were allocated after the timeout were overwritten with {changed}"


@defect("17", "with TOKEN_VALIDATION_ENABLED one block is found, whatever was stored")
def token_validation(folder: Path) -> None:
    prompt = tokens(4)
    shfs(folder, TOKEN_VALIDATION_ENABLED=1)
    with manager() as cache:
        must_store(cache, None, view(prompt), [1, 2, 3, 4])
    with manager() as cache:
        served = read(cache, None, view(prompt))
        assert served == [1, 2, 3, 4], f"four blocks were stored and acquire serves {served}"


@defect("20", "a file in which a bit flipped is served as a hit")
def flipped_bit(folder: Path) -> None:
    prompt = tokens(4)
    shfs(folder)
    with manager() as cache:
        must_store(cache, None, view(prompt), [1, 2, 3, 4])
    stored = files_below(folder)
    arranged(bool(stored), f"no file below {folder}")
    for path in stored:
        data = bytearray(path.read_bytes())
        if len(data) >= block_spec().block_nbytes:
            data[-100] ^= 0x10
            path.write_bytes(data)
    with manager() as cache:
        served = read(cache, None, view(prompt))
        assert served == [1, 2, 3, 4][: len(served)], f"blocks of 1, 2, 3, 4 were damaged, and acquire serves {served}"
