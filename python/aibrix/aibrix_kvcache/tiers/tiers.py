"""The seam between a manager and the memory behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reprise import Reason

from ..cache_handle import KVCacheHandle, MemoryRegionKVCacheHandle
from ..chains import Blocks
from ..memory import MemoryRegion


class Answer(NamedTuple):
    """How many blocks, from the first on, and why not more."""

    blocks: int
    from_l1: int
    from_l2: int
    reason: Reason
    asked_l2: bool = False


def worth_asking_l2(threshold: tuple[float, ...], missing: int, total: int) -> bool:
    """DOUBLE_GET_THRESHOLD: not for a few blocks behind many in L1."""
    least, *share = threshold
    return missing > 0 and missing >= least and (not share or missing >= share[0] * total)


class Tiers(Protocol):
    """L1, L2 or both. All calls are thread-safe; timeouts are in seconds, None for no limit."""

    has_l1: bool
    has_l2: bool

    def exists(self, blocks: Blocks, timeout_per_block: float) -> Answer:
        """Moves nothing, influences nothing."""

    def acquire(self, blocks: Blocks, timeout_per_block: float) -> tuple[MemoryRegionKVCacheHandle | None, Answer]:
        """The leading run of `blocks`, to be read in place; None when it is empty."""

    def copy_out(self, blocks: Blocks, into: Sequence[MemoryRegion], timeout_per_block: float) -> Answer:
        """Copies the leading run into CPU memory, a region a block."""

    def allocate(self, blocks: Blocks) -> tuple[MemoryRegionKVCacheHandle | None, Reason]:
        """Memory to fill for the leading blocks, as many as there is room for; None when there is none."""

    def store(self, blocks: Blocks, handle: KVCacheHandle) -> tuple[int, Reason]:
        """Stores the leading blocks from `handle`, and ends it: how many of them, from the first on, are kept."""

    def erase(self, blocks: Blocks, timeout: float | None) -> None:
        """Forgets them in every tier."""

    def prefetch(self, blocks: Blocks) -> None:
        """Starts bringing them into L1."""

    def flush(self, timeout: float | None) -> bool:
        """Waits for the writes to L2 accepted so far; False when the time was over first."""

    def usage(self) -> tuple[int, int]:
        """Bytes used in L1, and its capacity."""

    def describe(self) -> str:
        """For a log line."""

    def close(self, timeout: float) -> None:
        """Writes out what is queued, as far as the time allows."""
