"""What the scheduler side tells the workers for one step: plain data, pickled by vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from .groups import Piece
from .home import Home
from .identity import Shard


@dataclass
class Load:
    """Blocks of one request to read from a lease."""

    request_id: str
    token: bytes
    """Of the lease: it holds `leased` blocks of each rank, one rank after the other. Empty: this cannot be loaded."""
    leased: int
    pieces: list[Piece]
    prefix: int = 0
    """Tokens before its first block."""
    parked: bool = False
    """vLLM has parked the request: it is read beside the steps, and no step needs it before it is reported."""

    @property
    def blocks(self) -> int:
        """That one rank reads."""
        return sum(len(piece.block_ids) for piece in self.pieces)


@dataclass
class Save:
    """Blocks of one request and one KV group that are complete after this step."""

    request_id: str
    group: int
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
    profiling: tuple[str, str] = ("", "")
    """Where profiles go, and under which name; empty: nowhere."""
    idle: bool = False
    """Nothing is computed in this step."""
    settle: bool = False
    """What is saved must be in the cache before the step is reported."""


@dataclass
class Done(KVConnectorWorkerMetadata):
    """What a worker says of a step that it has finished. vLLM leaves out reports in which nothing is said."""

    number: int
    failed: frozenset[str] = frozenset()
    """Parked requests of which this rank did not get all blocks."""
    unsaved: frozenset[int] = frozenset()
    """Indices of the plan's saves that are not wholly in the cache."""
    stored: int = 0
    """Tokens that were stored since the last report and were not there before, over all ranks."""

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """Of several ranks that report the same step."""
        if not isinstance(other, Done):
            return self
        return Done(self.number, self.failed | other.failed, self.unsaved | other.unsaved, self.stored + other.stored)


@dataclass
class Handshake(KVConnectorHandshakeMetadata):
    """What a worker tells the scheduler side once, after its KV tensors are there."""

    shards: tuple[Shard, ...]
    """One for each KV group; or a single one that says why nothing can be cached."""
