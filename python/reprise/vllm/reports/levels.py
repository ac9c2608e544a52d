"""How full the cache is, and what it lost: asked for on a thread of its own, since an answer may take its time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ... import _native
from .tally import Tally

logger = logging.getLogger("vllm.reprise")

_EVERY = 5.0
_COUNTERS = ("evictions", "corrupt")


class Levels:
    """The tiers' figures, at most a few seconds old. The scheduler's thread takes them."""

    def __init__(self, cache: _native.Cache, slow_tier: Callable[[str], None]) -> None:
        """`slow_tier` is told the name of the store behind memory, or an empty one, with each look, by the thread."""
        self._cache = cache
        self._slow_tier = slow_tier
        self._stop = threading.Event()
        self._tally = Tally()
        self._before: dict[str, dict[str, int]] = {}
        self._new: dict[str, dict[str, int]] | None = None
        self._thread = threading.Thread(target=self._run, name="reprise-levels", daemon=True)
        self._thread.start()

    def take(self) -> dict[str, dict[str, int]]:
        """By tier (`l1`, `l2`): used_bytes, capacity_bytes, and evictions and corrupt since the last call.

        Empty if there is nothing new. The figures are those of all who use the cache.
        """
        new, self._new = self._new, None
        if new is None:
            return {}
        told = {}
        for tier, figures in new.items():
            before = self._before.get(tier, figures)  # What was counted before this engine came is not its own.
            told[tier] = dict(figures)
            for name in _COUNTERS:  # A server that was started anew counts from zero.
                lost = figures[name] - before[name]
                told[tier][name] = lost if lost >= 0 else figures[name]
        self._before = new
        return told

    def close(self) -> None:
        """Ends the thread, or leaves it where the cache does not answer."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            try:
                stats = self._cache.stats()
                self._slow_tier(stats.l2.name)
                self._new = _figures(stats)
            except Exception as error:  # The cache is away: what is known is old.
                self._tally.problem(logger, "look at the cache's size", error)
            if self._stop.wait(_EVERY):
                return


def _figures(stats: _native.CacheStats) -> dict[str, dict[str, int]]:
    tiers: dict[str, Any] = {"l1": stats.l1}
    if stats.l2.name:
        tiers["l2"] = stats.l2
    return {name: {"used_bytes": tier.used_bytes, "capacity_bytes": tier.capacity_bytes,
                   "evictions": tier.evictions, "corrupt": tier.corrupt} for name, tier in tiers.items()}
