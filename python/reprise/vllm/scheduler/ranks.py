"""What all ranks of the engine hold of a block: as many namespaces as there are ranks and KV groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import _native
from ..identity import Shard, host


class Ranks:
    """By rank and KV group. None before the workers have told."""

    def __init__(self, shards: Sequence[Sequence[Shard]] = ()) -> None:
        self.shards = list(shards)

    def problem(self, expected: int, groups: int, capacity: int) -> str:
        """Why nothing of so many ranks and groups can be cached, or an empty text. `capacity`: bytes; 0: not known."""
        for i, of_rank in enumerate(self.shards):
            for shard in of_rank:
                if shard.problem:
                    return shard.problem
                if shard.host != host():
                    return f"rank {i} runs on another host: only engines of one host can be cached in this version"
            if len(of_rank) != groups:
                return f"rank {i} has {len(of_rank)} KV groups and the scheduler {groups}"
        if len(self.shards) != expected:
            return f"{len(self.shards)} of {expected} ranks have told what they hold"
        block = sum(shard.block_bytes for of_rank in self.shards for shard in of_rank)
        if not 0 < capacity < block:
            return ""
        return (f"a block of this engine has {block} bytes over its ranks and the cache {capacity} in all: "
                f"raise l1_capacity (of a daemon, --l1-capacity), or lower --block-size")

    def namespaces(self, scope: str) -> list[list[_native.Namespace]]:
        """In which the blocks of each rank and group are."""
        return [[shard.namespace(scope) for shard in of_rank] for of_rank in self.shards]

    def block_bytes(self) -> int:
        """Of a block of all groups, on the rank with the largest ones."""
        return max((sum(shard.block_bytes for shard in of_rank) for of_rank in self.shards), default=0)


def shards_in_order(handshakes: Mapping[tuple[int, int], Any]) -> list[Sequence[Shard]]:
    """By pipeline rank, then tensor rank: the order of a lease's parts. Of each rank, one for each KV group."""
    # Where several connectors are used at once, vLLM passes on what the first of them told.
    strange = Shard(problem="the ranks told what another connector in MultiConnector wants to know: use one of the two")
    return [getattr(handshakes[rank], "shards", (strange,)) for rank in sorted(handshakes)]
