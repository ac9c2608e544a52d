"""A connector over one native cache: what all backends are."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, ClassVar, TypeVar

import numpy as np

import reprise

from ... import envs
from ...memory import MemoryRegion
from ...status import Status, StatusCodes
from .answers import of_exception, of_reason
from .connector import MR, Connector, ConnectorConfig, ConnectorFeature, leading, regions_of
from .urls import l2_url

_logger = logging.getLogger("aibrix_kvcache.l2")
_MOST_SIZES = 64
_LONGEST_S = 60.0  # The store's own bound; calls have shorter ones.
C = TypeVar("C", bound="CacheConnector")


class CacheConnector(Connector[bytes, Any]):
    """Blocks in the store of a native cache without L1.

    Keys are bytes: 16 of them name a block as they are, others by their SHA-256. Every call ends within `timeout_s`
    seconds; nothing writes into a region after it. A `put` that answers OK has been written.
    """

    WRITES_LATE: ClassVar[bool] = False
    BACKEND: ClassVar[str] = ""

    def __init__(self, conn_id: str, executor: Executor, config: ConnectorConfig | None = None) -> None:
        self.conn_id = conn_id
        self.timeout_s = 5.0
        self._executor = executor
        self._config = config
        self._cache: reprise.Cache | None = None
        self._lock = threading.Lock()
        self._namespaces: dict[int, reprise.Namespace] = {}
        if config is not None and config.block_nbytes:
            self._namespace(config.block_nbytes)

    def _open_cache(self) -> reprise.Cache:
        """Opens the native cache; raises what it raises."""
        return reprise.Cache.open(
            "embedded:",
            l1_capacity=0,
            l2_url=l2_url(self.BACKEND, self.conn_id),
            l2_threads=envs.AIBRIX_KV_CACHE_OL_L2_CACHE_NUM_ASYNC_WORKERS,
            l2_timeout=_LONGEST_S,
        )

    @classmethod
    def from_envs(cls: type[C], conn_id: str, executor: Executor, **kwargs: Any) -> C:
        config = kwargs.pop("config", None)
        if kwargs:
            raise ValueError(f"{cls.BACKEND} is no member of a cluster: {', '.join(sorted(kwargs))} mean nothing to it")
        return cls(conn_id, executor, config)

    @property
    def name(self) -> str:
        return self.BACKEND

    @property
    def feature(self) -> ConnectorFeature:
        return ConnectorFeature(mput_mget=True)

    def open(self) -> Status[Any]:
        """ERROR with the exception if the backend cannot be opened. A second time does nothing."""
        if self._cache is None:
            try:
                self._cache = self._open_cache()
            except Exception as error:
                return Status.error(StatusCodes.ERROR, error)
            _logger.info("%s is open for %s", self.name, self.conn_id)
        return Status.ok()

    def close(self) -> Status[Any]:
        """Waits, for `timeout_s` at most, until what was put is written."""
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.flush(timeout=self.timeout_s)
            cache.close()
        return Status.ok()

    async def exists(self, key: bytes) -> Status[Any]:
        status = await self.exists_run([key], self.timeout_s)
        return Status.ok() if status.is_ok() else status

    async def get(self, key: bytes, mr: MR) -> Status[Any]:
        return (await self.mget([key], [mr]))[0]

    async def put(self, key: bytes, mr: MR) -> Status[Any]:
        return (await self.mput([key], [mr]))[0]

    async def delete(self, key: bytes) -> Status[Any]:
        status = await self.delete_all([key], self.timeout_s)
        return Status.ok() if status.is_ok() else status

    async def mget(self, keys: Sequence[bytes], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        return await self._many(self._mget, keys, mrs, self.timeout_s)

    async def mput(self, keys: Sequence[bytes], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        return await self._many(self._mput, keys, mrs, self.timeout_s)

    async def exists_run(self, keys: Sequence[bytes], timeout_s: float) -> Status[int]:
        status: Status[int] = await self._later(timeout_s, self._exists, keys)
        return status

    async def get_run(self, keys: Sequence[bytes], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        return leading(await self._many(self._get_run, keys, mrs, timeout_s))

    async def put_run(self, keys: Sequence[bytes], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        return leading(await self._many(self._mput, keys, mrs, timeout_s))

    async def delete_all(self, keys: Sequence[bytes], timeout_s: float) -> Status[int]:
        status: Status[int] = await self._later(timeout_s, self._delete, keys)
        return status

    # Threads of the executor; `until` is a time of time.monotonic.

    def _exists(self, until: float, keys: Sequence[bytes]) -> Status[int]:
        answer: Status[int] = Status.error(StatusCodes.NOT_FOUND)
        for nbytes in list(self._namespaces):
            match = self._opened().match(self._chain(nbytes, keys), timeout=_left(until))
            if match.blocks:
                return Status.ok(match.blocks)
            answer = of_reason(match.reason)
        return answer

    def _delete(self, until: float, keys: Sequence[bytes]) -> Status[int]:
        for nbytes in list(self._namespaces):
            self._opened().erase(self._chain(nbytes, keys), timeout=_left(until))
        return Status.ok(len(keys))

    def _get_run(self, until: float, keys: Sequence[bytes], mrs: Sequence[MR]) -> list[Status[Any]]:
        """One native call for the run that is there, and an answer for it and what ended it."""
        buffers, nbytes = _buffers(mrs)
        match = self._opened().get(self._chain(nbytes, keys), [it.array for it in buffers], timeout=_left(until))
        for buffer in buffers[: match.blocks]:
            buffer.write_back()
        answers: list[Status[Any]] = [Status.ok() for _ in range(match.blocks)]
        return answers if match.blocks == len(keys) else [*answers, of_reason(match.reason)]

    def _mget(self, until: float, keys: Sequence[bytes], mrs: Sequence[MR]) -> list[Status[Any]]:
        """What follows a gap is asked for again, so that each answer is its own."""
        answers: list[Status[Any]] = []
        while len(answers) < len(keys):
            answers += self._get_run(until, keys[len(answers) :], mrs[len(answers) :])
            if not answers[-1].is_ok() and not answers[-1].is_not_found():
                answers += [Status(answers[-1]) for _ in keys[len(answers) :]]
        return answers

    def _mput(self, until: float, keys: Sequence[bytes], mrs: Sequence[MR]) -> list[Status[Any]]:
        buffers, nbytes = _buffers(mrs)
        cache = self._opened()
        stored = cache.put(self._chain(nbytes, keys), [buffer.read() for buffer in buffers], timeout=_left(until))
        if not cache.flush(timeout=_left(until)):
            return [Status.error(StatusCodes.TIMEOUT, f"{self.name} has not written in time") for _ in keys]
        declined = stored.declined_blocks or [False] * len(keys)
        return [of_reason(stored.reason) if no else Status.ok() for no in declined]

    def _opened(self) -> reprise.Cache:
        if self._cache is None:
            raise RuntimeError(f"{self.name} is not open")
        return self._cache

    def _chain(self, nbytes: int, keys: Sequence[bytes]) -> reprise.Chain:
        named = [key if len(key) == 16 else hashlib.sha256(key).digest()[:16] for key in keys]
        return reprise.Chain(self._namespace(nbytes), named)

    def _namespace(self, nbytes: int) -> reprise.Namespace:
        with self._lock:
            ns = self._namespaces.get(nbytes)
            if ns is None:
                if len(self._namespaces) >= _MOST_SIZES:
                    raise ValueError(f"blocks of {nbytes} bytes: there are {_MOST_SIZES} sizes already")
                model = (self._config.model if self._config else "") or "unnamed"
                ns = self._namespaces[nbytes] = reprise.Namespace(
                    model=model,
                    revision="none",
                    dtype="opaque",
                    layout=self.conn_id,
                    block_tokens=1,  # A block of an L2Cache is what its key says; its tokens are in conn_id.
                    block_bytes=nbytes,
                    layers=range(0, 1),
                    heads=range(0, 1),
                    salt="",
                    extras=dict(self._config.extras) if self._config else None,
                )
            return ns

    async def _many(
        self,
        call: Callable[..., list[Status[Any]]],
        keys: Sequence[bytes],
        mrs: Sequence[MR],
        timeout_s: float,
    ) -> Sequence[Status[Any]]:
        if not keys or len(keys) != len(mrs):
            return [Status.error(StatusCodes.INVALID, f"{len(mrs)} regions for {len(keys)} keys")] * max(1, len(keys))
        answer = await self._later(timeout_s, call, keys, mrs)
        return answer if isinstance(answer, list) else [answer for _ in keys]

    async def _later(self, timeout_s: float, call: Callable[..., Any], *args: Any) -> Any:
        """`call(until, *args)` on a thread, whose native calls end in time.

        A call that no thread has begun is cancelled at the deadline; one that has begun is waited for, even when the
        task is cancelled: it writes into regions that the caller would have back otherwise.
        """
        until = time.monotonic() + timeout_s
        busy: Status[Any] = Status.error(StatusCodes.TIMEOUT, f"{self.name}: all threads were busy")

        def begin() -> Any:
            if time.monotonic() >= until:
                return busy
            try:
                return call(until, *args)
            except Exception as error:
                return of_exception(error)

        try:
            future = self._executor.submit(begin)
        except RuntimeError as error:  # It was shut down.
            return of_exception(error)
        waiter = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
            if not done and future.cancel():
                return busy
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            while not future.cancel() and not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({waiter})
            raise


class _Buffer:
    """A block's memory as one array that native calls can take: in place where it is one piece in the CPU's memory."""

    def __init__(self, parts: Sequence[MemoryRegion]) -> None:
        self._parts = parts
        self._in_place = len(parts) == 1 and parts[0].slab.device.type == "cpu"
        nbytes = sum(part.length for part in parts)
        self.array: Any = parts[0].numpy() if self._in_place else np.empty(nbytes, dtype=np.uint8)

    def read(self) -> Any:
        if not self._in_place:
            self.array = np.frombuffer(b"".join(part.tobytes() for part in self._parts), dtype=np.uint8)
        return self.array

    def write_back(self) -> None:
        if not self._in_place:
            at = 0
            for part in self._parts:
                part.fill(self.array[at : at + part.length].data)
                at += part.length


def _buffers(mrs: Sequence[MR]) -> tuple[list[_Buffer], int]:
    """The blocks' memory and the length of each. ValueError unless all are equally long."""
    buffers = [_Buffer(regions_of(mr)) for mr in mrs]
    sizes = {buffer.array.nbytes for buffer in buffers}
    if len(sizes) != 1:
        raise ValueError(f"blocks of different sizes in one call: {sorted(sizes)}")
    return buffers, sizes.pop()


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
