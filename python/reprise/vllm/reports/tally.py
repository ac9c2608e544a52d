"""Counts of what a side of the connector did, and what it complains of now and then. Not thread-safe."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

FIELDS = ("loaded_blocks", "loaded_bytes", "load_seconds", "saved_blocks", "saved_bytes", "save_seconds",
          "failed_blocks")
_QUIET = 10.0  # Seconds between two warnings of one kind.


@dataclass
class Tally:
    """Blocks, bytes and seconds since the last `take`."""

    loaded_blocks: int = 0
    loaded_bytes: int = 0
    load_seconds: float = 0.0
    saved_blocks: int = 0
    saved_bytes: int = 0
    save_seconds: float = 0.0
    failed_blocks: int = 0
    problems: int = 0
    _quiet_until: dict[str, float] = field(default_factory=dict)

    def loaded(self, blocks: int, size: int, seconds: float) -> None:
        """Blocks that came from the cache, and their bytes."""
        self.loaded_blocks += blocks
        self.loaded_bytes += size
        self.load_seconds += seconds

    def saved(self, blocks: int, size: int, seconds: float) -> None:
        """Blocks that went to the cache, and their bytes."""
        self.saved_blocks += blocks
        self.saved_bytes += size
        self.save_seconds += seconds

    def failed(self, blocks: int) -> None:
        """Blocks that were promised and did not come."""
        self.failed_blocks += blocks

    def take(self) -> dict[str, float]:
        """The sums since the last call, by name; empty if nothing happened."""
        sums = {name: getattr(self, name) for name in FIELDS}
        for name in FIELDS:
            setattr(self, name, type(getattr(self, name))())
        return sums if any(sums.values()) else {}

    def problem(self, logger: logging.Logger, what: str, error: Exception) -> None:
        """Counts it, and says so now and then."""
        self.problems += 1
        now = time.monotonic()
        if now >= self._quiet_until.get(what, 0.0):
            self._quiet_until[what] = now + _QUIET
            logger.warning("Reprise: a %s failed, the engine computes instead: %s: %s",
                           what, type(error).__name__, error)
