"""The interface to a backend of L2."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch

from ...memory import MemoryRegion
from ...status import Status, StatusCodes

K = TypeVar("K")
V = TypeVar("V")
MR = MemoryRegion | Sequence[MemoryRegion]


@dataclass
class ConnectorFeature:
    """What a backend can do beyond single blocks."""

    mput_mget: bool = False
    prefetch: bool = False
    rdma: bool = False
    gdr_put: bool = False
    gdr_get: bool = False
    zero_copy: bool = False


@dataclass
class ConnectorConfig:
    """Which backend, and whose blocks.

    Blocks of two connectors are shared if and only if everything here but `executor` agrees. `block_nbytes`, the bytes
    of a block, may be 0: it is then learnt from the first region. `model` and `extras` (what else must agree, such as
    the dtype) are part of the identity too.
    """

    backend_name: str
    namespace: str
    partition_id: str
    executor: Executor
    block_spec_signature: str = ""
    key_builder_signature: str = ""
    layout_signature: str = ""
    block_nbytes: int = 0
    model: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)

    @property
    def conn_id(self) -> str:
        """The identity in the original's form, e.g. `aibrix_h0_3_l0_31_lcnd16roc`."""
        signature = f"{self.block_spec_signature}{self.key_builder_signature}{self.layout_signature}"
        return "_".join(part for part in (self.namespace, self.partition_id, signature) if part)


class ConnectorRegisterDescriptor:
    """What a backend remembers of memory that was registered with it."""


class ConnectorZeroCopyMemoryRegion(ABC):
    """Memory of a backend that a caller fills or reads in place."""

    @property
    @abstractmethod
    def addr(self) -> int: ...

    @property
    @abstractmethod
    def length(self) -> int: ...


class Connector(ABC, Generic[K, V]):
    """A backend. `open` before anything else; the rest may be called by any number of tasks of one event loop.

    Answers are statuses: NOT_FOUND for a block that is not there, which is no error.
    """

    # True for connectors that may write into a region after the caller gave up: L2Cache lends those regions of its own.
    WRITES_LATE: ClassVar[bool] = True

    @staticmethod
    def create(config: ConnectorConfig, **kwargs: Any) -> Connector[Any, Any]:
        """The connector of `config.backend_name`. `kwargs` are those of a member of a cluster (`addr`, `port`).

        ValueError for a backend that is not there.
        """
        from .registry import connector_class

        cls = connector_class(config.backend_name)
        return cls.from_envs(config.conn_id, config.executor, config=config, **kwargs)

    @classmethod
    @abstractmethod
    def from_envs(cls, conn_id: str, executor: Executor, **kwargs: Any) -> Connector[Any, Any]:
        """Makes one as the environment says."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def feature(self) -> ConnectorFeature: ...

    @abstractmethod
    def open(self) -> Status[Any]: ...

    @abstractmethod
    def close(self) -> Status[Any]: ...

    @abstractmethod
    async def exists(self, key: K) -> Status[Any]:
        """OK or NOT_FOUND."""

    @abstractmethod
    async def get(self, key: K, mr: MR) -> Status[Any]:
        """Fills the region, whose length must be the block's."""

    @abstractmethod
    async def put(self, key: K, mr: MR) -> Status[Any]:
        """Stores the region's bytes."""

    @abstractmethod
    async def delete(self, key: K) -> Status[Any]:
        """Forgets the block; OK whether or not it was there."""

    async def prefetch(self, keys: Sequence[K]) -> None:
        """Brings blocks nearer, where the backend can."""

    def register_slabs(self, slabs: list[torch.Tensor]) -> Status[Any]:
        """Memory that regions will come from. Nothing to do unless the backend has rdma."""
        return Status.ok()

    def get_batches(self, keys: Sequence[Any], mrs: Sequence[MR], batch_size: int) -> Sequence[Sequence[tuple[K, MR]]]:
        """(key, region) pairs in batches of at most `batch_size`."""
        pairs = list(zip(keys, mrs, strict=True))
        return [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]

    async def mget(self, keys: Sequence[K], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        """`get` of each, where the feature mput_mget is there."""
        return [await self.get(key, mr) for key, mr in zip(keys, mrs, strict=True)]

    async def mput(self, keys: Sequence[K], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        """`put` of each, where the feature mput_mget is there."""
        return [await self.put(key, mr) for key, mr in zip(keys, mrs, strict=True)]

    # Runs: what L2Cache asks. OK with the number of leading blocks that were served; with none, why.

    async def exists_run(self, keys: Sequence[K], timeout_s: float) -> Status[int]:
        """How many leading blocks are there."""
        return await leading_in_time([self.exists(key) for key in keys], timeout_s)

    async def get_run(self, keys: Sequence[K], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        """Fills regions of the leading blocks that are there; what other regions hold then is not said."""
        if self.feature.mput_mget:
            return await leading_in_time([self.mget(keys, mrs)], timeout_s)
        return await leading_in_time([self.get(key, mr) for key, mr in zip(keys, mrs, strict=True)], timeout_s)

    async def put_run(self, keys: Sequence[K], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        """Stores blocks; counts those before the first that was not."""
        if self.feature.mput_mget:
            return await leading_in_time([self.mput(keys, mrs)], timeout_s)
        return await leading_in_time([self.put(key, mr) for key, mr in zip(keys, mrs, strict=True)], timeout_s)

    async def delete_all(self, keys: Sequence[K], timeout_s: float) -> Status[int]:
        """Forgets the blocks."""
        return await leading_in_time([self.delete(key) for key in keys], timeout_s)

    async def allocate(self, key: K, length: int) -> Status[ConnectorZeroCopyMemoryRegion]:
        return self._no_zero_copy()

    async def seal(self, mr: ConnectorZeroCopyMemoryRegion) -> Status[Any]:
        return self._no_zero_copy()

    async def drop(self, mr: ConnectorZeroCopyMemoryRegion) -> Status[Any]:
        return self._no_zero_copy()

    async def acquire(self, key: K) -> Status[ConnectorZeroCopyMemoryRegion]:
        return self._no_zero_copy()

    async def release(self, mr: ConnectorZeroCopyMemoryRegion) -> Status[Any]:
        return self._no_zero_copy()

    def _no_zero_copy(self) -> Status[Any]:
        return Status.error(StatusCodes.ERROR, f"{self.name} has no memory of its own to lend")


def leading(statuses: Sequence[Status[Any]]) -> Status[int]:
    """How many of the first ones are OK; if not one is, what the first says."""
    count = next((index for index, status in enumerate(statuses) if not status.is_ok()), len(statuses))
    return Status.ok(count) if count or not statuses else Status(statuses[0])


async def leading_in_time(calls: Sequence[Awaitable[Any]], timeout_s: float) -> Status[int]:
    """`leading` of what the calls answer, each a status or a sequence of them. TIMEOUT if it takes longer."""
    try:
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout_s)
    except TimeoutError:
        return Status.error(StatusCodes.TIMEOUT, f"no answer within {timeout_s:.3f} s")
    statuses: list[Status[Any]] = []
    for answer in answers:
        if isinstance(answer, asyncio.CancelledError):
            statuses.append(Status.error(StatusCodes.CANCELLED))
        elif isinstance(answer, Exception):
            statuses.append(Status.error(StatusCodes.ERROR, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            statuses += [answer] if isinstance(answer, Status) else answer
    return leading(statuses)


def regions_of(mr: MR) -> Sequence[MemoryRegion]:
    """The parts of a block's memory."""
    return [mr] if isinstance(mr, MemoryRegion) else mr
