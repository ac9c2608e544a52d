"""From which tier the blocks came that a request was promised. Called by the scheduler's one thread.

What lies on disk is brought into memory before it is promised, so the tiers are those of the first look.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ... import _native

_MAX_ASKING = 1 << 14  # Requests that ask; of older ones it is not known any more.
_FAILURES = {
    _native.Reason.TIMEOUT: "timeout", _native.Reason.UNAVAILABLE: "error", _native.Reason.BUSY: "denied",
    _native.Reason.CORRUPT: "error",
}
DISKS = ("disk", "fs", "rocksdb")  # Names of stores on a file system; others are away, or are none.


@dataclass
class _Asking:
    began: float
    in_memory: int | None = None
    """Blocks at the front that were in memory at the first look."""
    seconds: float = 0.0
    failure: str = ""


@dataclass
class Found:
    """What a request got that has its blocks now."""

    memory: int = 0
    """Blocks that were in memory."""
    behind: int = 0
    """Blocks that lay behind it."""
    seconds: float = 0.0
    """From its first question to the answer."""
    failure: str = ""
    """Why the answer was short, where it is not that nothing was there; as the drop-in names its errors."""


class Sources:
    """Of all requests that ask."""

    def __init__(self) -> None:
        self.slow_tier = ""
        """Name of the store behind memory, if there is one."""
        self._asking: OrderedDict[str, _Asking] = OrderedDict()

    def set_slow_tier(self, name: str) -> None:
        """What lies behind memory. A daemon may come later than the engine. Any thread may tell."""
        self.slow_tier = name

    def ask(self, request_id: str) -> None:
        """The request asks, maybe not for the first time."""
        if request_id not in self._asking:
            self._asking[request_id] = _Asking(time.monotonic())
            if len(self._asking) > _MAX_ASKING:
                self._asking.popitem(last=False)

    def seen(self, request_id: str, match: _native.Match) -> None:
        """What a look or the lease found. The first counts: afterwards everything is in memory."""
        asking = self._asking.get(request_id)
        if asking:
            asking.failure = _FAILURES.get(match.reason, "")
            if asking.in_memory is None and match.blocks:
                needed = match.from_l1 + match.from_l2  # Of all ranks and KV groups.
                asking.in_memory = match.blocks * match.from_l1 // needed if needed else match.blocks

    def answered(self, request_id: str) -> None:
        """The request knows what it gets."""
        asking = self._asking.get(request_id)
        if asking:
            asking.seconds = time.monotonic() - asking.began

    def take(self, request_id: str, blocks: int) -> Found:
        """Ends the asking of a request that got so many blocks."""
        asking = self._asking.pop(request_id, None)
        if asking is None:
            return Found(memory=blocks)
        memory = blocks if asking.in_memory is None else min(blocks, asking.in_memory)
        return Found(memory, blocks - memory, asking.seconds, asking.failure)

    def forget(self, request_id: str) -> None:
        """The request does not ask any more."""
        self._asking.pop(request_id, None)


def hit_sources(memory: int, behind: int, slow_tier: str) -> dict[Any, int]:
    """Tokens by vLLM's names of tiers; only those that are not 0."""
    from vllm.v1.metrics.cache_hit_source import CacheHitSource  # Of versions that ask.

    away = CacheHitSource.DISK if slow_tier in DISKS else CacheHitSource.EXTERNAL_UNSPECIFIED
    return {source: tokens for source, tokens in ((CacheHitSource.HOST, memory), (away, behind)) if tokens}
