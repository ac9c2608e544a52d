"""What the cache was good for: a line in the log once a minute. Not thread-safe."""

from __future__ import annotations

import logging
from dataclasses import dataclass

_EVERY = 60.0
_PREFILL = 64  # Tokens in a step that make it one of prefill: its time is that of its tokens.


@dataclass
class Gains:
    """Counts since the last line, and how fast this engine computes."""

    asked: int = 0
    """Tokens of prompts that the engine did not have itself."""
    found: int = 0
    behind: int = 0
    """Of those found, what was not in memory."""
    failed: int = 0
    saved: int = 0
    slow_tier: str = ""
    """Name of what lies behind memory."""
    tokens_per_second: float = 0.0
    _said_at: float = 0.0

    def step(self, computed_tokens: int, loaded_tokens: int, seconds: float) -> None:
        """A step is over. Those that load say nothing about computing."""
        if computed_tokens >= _PREFILL and not loaded_tokens and seconds > 0:
            rate = computed_tokens / seconds
            # A step is measured with all that goes on beside it, so a fast one says more than a slow one.
            weight = 0.3 if rate > self.tokens_per_second else 0.05
            self.tokens_per_second += weight * (rate - self.tokens_per_second) if self.tokens_per_second else rate

    def line(self, now: float) -> str:
        """What there is to say, at most once a minute; empty if that is nothing."""
        if not self._said_at:
            self._said_at = now
        if now - self._said_at < _EVERY:
            return ""
        span, self._said_at = now - self._said_at, now
        if not (self.asked or self.found or self.saved or self.failed):
            return ""
        text = (f"in {span:.0f} s {self.found} of {self.asked} tokens came from the cache ({self._ratios()}), "
                f"{self.saved} were stored")
        if self.tokens_per_second and self.found:
            text += f"; computing them would have taken about {self.found / self.tokens_per_second:.1f} s"
        if self.failed:
            text += f"; {self.failed} were promised and had to be computed"
        self.asked = self.found = self.behind = self.failed = self.saved = 0
        return text

    def _ratios(self) -> str:
        def percent(tokens: int) -> str:
            return f"{100.0 * tokens / self.asked if self.asked else 0.0:.1f} %"

        if not self.slow_tier:
            return percent(self.found)
        return (f"{percent(self.found)}: {percent(self.found - self.behind)} from memory, "
                f"{percent(self.behind)} from {self.slow_tier}")

    def log(self, logger: logging.Logger, now: float) -> None:
        """Says it."""
        text = self.line(now)
        if text:
            logger.info("Reprise: %s", text)
