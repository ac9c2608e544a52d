"""Faults around the backends: calls that wait for ever, writers that disturb each other, a thread that dies."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry import defect
from rig import arranged, block_spec, fill, l2_only, manager, pool, setenv, shfs, slow_backend, tokens, view

HANG_S = 15.0  # How long the backend hangs: the original waits as long as that.
PATIENCE_S = 10.0  # What a call may take: far above any deadline that is set here.


def _within(what: str, call: Callable[[], Any]) -> None:
    start = time.monotonic()
    answer = call()
    took = time.monotonic() - start
    assert took < PATIENCE_S, f"the backend hung, and {what} answered {answer} only after {took:.1f} s"


def _hung(call: str) -> None:
    setenv(FLUSH_TIMEOUT_S=2)
    l2_only(L2_CACHE_PER_TOKEN_TIMEOUT_MS=20)
    slow_backend(HANG_S, calls=[call])


@defect("15", "put waits for a hung backend without end", seconds=60)
def hung_put(folder: Path) -> None:
    _hung("put")
    with manager() as cache:
        allocated = cache.allocate_for(None, view(tokens(1)))
        arranged(allocated.is_ok(), f"allocate_for answered {allocated}")
        fill(allocated.get(), [1])
        _within("put", lambda: cache.put(None, view(tokens(1)), allocated.get()))


@defect("15", "delete waits for a hung backend without end", seconds=60)
def hung_delete(folder: Path) -> None:
    _hung("delete")
    with manager() as cache:
        _within("delete", lambda: cache.delete(None, view(tokens(1))))


@defect("15", "flush waits for a hung backend without end", seconds=60)
def hung_flush(folder: Path) -> None:
    _hung("put")
    setenv(L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS=1024)
    with manager() as cache:
        allocated = cache.allocate_for(None, view(tokens(1)))
        arranged(allocated.is_ok(), f"allocate_for answered {allocated}")
        cache.put(None, view(tokens(1)), allocated.get())
        _within("flush", cache.flush)


@defect("12", "SHFS: writers of the same block use one temporary file, and disturb each other", seconds=90)
def shared_temporary_names(folder: Path) -> None:
    rounds = 150
    spec = block_spec(dtype="float32", head_size=2048)  # 256 KiB: long enough to be disturbed while being written.
    shfs(folder)
    pool(64 * spec.block_nbytes)
    start = threading.Barrier(2, timeout=30)
    refused: list[str] = []

    def write(cache: Any, value: float) -> None:
        for seed in range(rounds):
            allocated = cache.allocate_for(None, view(tokens(1, seed)))
            fill(allocated.get(), [value])
            start.wait()
            try:
                status = cache.put(None, view(tokens(1, seed)), allocated.get())
                if not status.is_ok():
                    refused.append(f"it answered {status}")
            except Exception as error:
                refused.append(f"it raised {error!r}")

    with manager(spec) as one, manager(spec) as two:
        _both(lambda: write(one, 1), lambda: write(two, 2))
    assert not refused, f"{len(refused)} of {2 * rounds} puts failed; the first: {refused[0]}"


def _both(*calls: Callable[[], None]) -> None:
    writers = [threading.Thread(target=call) for call in calls]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


@defect("10", "a Redis key that is not there: the call raises, which ends the thread that refreshes the members")
def missing_redis_key(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)) != 0:
                arranged(time.monotonic() < deadline, "redis-server does not answer")
                time.sleep(0.05)
        _ask_for_a_missing_key(port)
    finally:
        server.terminate()
        server.wait(30)


def _ask_for_a_missing_key(port: int) -> None:
    from aibrix_kvcache.meta_service import MetaService

    setenv(META_SERVICE_URL=f"redis://127.0.0.1:{port}/0", META_SERVICE_CLUSTER_META_KEY="none")
    service = MetaService.create("REDIS")
    opened = service.open()
    arranged(opened.is_ok(), f"open answered {opened}")
    try:
        status = service.get_cluster_metadata()
    except Exception as error:
        raise AssertionError(f"get_cluster_metadata raised {error!r}") from error
    assert not status.is_ok(), f"the key is not there, and get_cluster_metadata answered {status}"


