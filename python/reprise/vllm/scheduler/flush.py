"""Waits until what was stored has reached the tier behind memory. Called by the scheduler's one thread."""

from __future__ import annotations

import logging
import time

from ... import _native
from ..reports.tally import Tally

logger = logging.getLogger("vllm.reprise")

_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # Seconds without another try after one that failed; doubled each time.


class Flusher:
    """Bounded waits: a tier that does not keep up costs one of them now and then, and not every request."""

    def __init__(self, cache: _native.Cache, timeout: float) -> None:
        """`timeout`: of one wait, in seconds."""
        self._cache = cache
        self._timeout = timeout
        self._tally = Tally()
        self._pause = _PAUSE
        self._paused_until = 0.0

    def flush(self) -> bool:
        """True: everything stored so far is where other engines find it, or was given up by the cache."""
        if time.monotonic() < self._paused_until:
            return False
        try:
            done = self._cache.flush(timeout=self._timeout)
        except Exception as error:
            self._tally.problem(logger, "flush", error)
            done = False
        else:
            if not done:
                logger.warning("Reprise: what was stored did not reach L2 within %.1f s (flush_timeout); "
                               "not waited for again for %.0f s", self._timeout, self._pause)
        if done:
            self._pause = _PAUSE
        else:
            self._paused_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return done
