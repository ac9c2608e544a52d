"""asyncio forms of the calls that wait.

    async with reprise.aio.open("unix:///run/reprise/reprise.sock") as cache:
        answer = await cache.get(chain, out=buffers, timeout=0.05)

Each call runs on a thread of a small pool that the object owns. A cancelled call is waited for before CancelledError
goes on, so that nothing writes into its buffers afterwards; give calls a timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from . import _native

T = TypeVar("T")
Chains = _native.Chain | Sequence[_native.Chain]


class AsyncCache:
    """A `Cache` whose calls are awaited. `sync` is the cache behind it."""

    def __init__(self, cache: _native.Cache, *, threads: int = 4) -> None:
        self.sync = cache
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reprise-aio")

    async def __aenter__(self) -> AsyncCache:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _run(self, call: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue  # Cancelled again: the call still has to end.
            if undo is not None and future.exception() is None:
                undo(future.result())
            raise

    async def match(self, chains: Chains, *, timeout: float | None = None) -> _native.Match:
        return await self._run(lambda: self.sync.match(chains, timeout=timeout))

    async def acquire(self, chains: Chains, *, timeout: float | None = None) -> _native.Lease:
        return await self._run(lambda: self.sync.acquire(chains, timeout=timeout), _native.Lease.release)

    async def attach(self, token: bytes) -> _native.Lease:
        return await self._run(lambda: self.sync.attach(token), _native.Lease.release)

    async def get(self, chains: Chains, out: Any, *, start: int = 0, timeout: float | None = None) -> _native.Match:
        return await self._run(lambda: self.sync.get(chains, out, start=start, timeout=timeout))

    async def put(self, chains: Chains, blocks: Any, *, start: int = 0, timeout: float | None = None) -> _native.Stored:
        return await self._run(lambda: self.sync.put(chains, blocks, start=start, timeout=timeout))

    async def reserve(
        self, chain: _native.Chain, *, start: int = 0, timeout: float | None = None
    ) -> _native.Reservation:
        return await self._run(
            lambda: self.sync.reserve(chain, start=start, timeout=timeout), _native.Reservation.abandon
        )

    async def prefetch(self, chains: Chains, *, timeout: float | None = None) -> _native.Match:
        return await self._run(lambda: self.sync.prefetch(chains, timeout=timeout))

    async def erase(self, chains: Chains, *, timeout: float | None = None) -> int:
        return await self._run(lambda: self.sync.erase(chains, timeout=timeout))

    async def flush(self, *, timeout: float | None = None) -> bool:
        return await self._run(lambda: self.sync.flush(timeout=timeout))

    async def close(self) -> None:
        """Waits for calls that run, then closes the cache and ends the threads."""
        try:
            await self._run(self.sync.close)
        finally:
            self._pool.shutdown(wait=False)


def open(url: str = "embedded:", *, threads: int = 4, **options: Any) -> AsyncCache:
    """Like `Cache.open`; waits for the first connection of an attached cache, at most attach_timeout."""
    return AsyncCache(_native.Cache.open(url, **options), threads=threads)
