"""What the scheduler side tells the workers for one step: plain data, pickled by vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from .home import Home
from .identity import Shard


@dataclass
class Load:
    """Blocks of one request to read from a lease."""

    request_id: str
    token: bytes
    """Of the lease: it holds `leased` blocks of each rank, one rank after the other."""
    leased: int
    block_ids: list[int]
    """Block tables' ids of the first blocks of the lease: as many as are to be loaded."""


@dataclass
class Save:
    """Blocks of one request that are complete after this step."""

    request_id: str
    keys: bytes
    """16 bytes each, from the prompt's first block to the last one to save."""
    first: int
    block_ids: list[int]


@dataclass
class Plan(KVConnectorMetadata):
    """One step."""

    loads: list[Load] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    number: int = 0
    """Of the step: it comes back in `Done`."""
    home: Home | None = None
    scope: str = ""
    """Part of the identity of every block."""


@dataclass
class Done(KVConnectorWorkerMetadata):
    """What a worker says of a step that it has finished. vLLM leaves out reports in which nothing is said."""

    number: int
    unsaved: frozenset[int] = frozenset()
    """Indices of the plan's saves that are not wholly in the cache."""

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """Of several ranks that report the same step."""
        return Done(self.number, self.unsaved | other.unsaved) if isinstance(other, Done) else self


@dataclass
class Handshake(KVConnectorHandshakeMetadata):
    """What a worker tells the scheduler side once, after its KV tensors are there."""

    shard: Shard
