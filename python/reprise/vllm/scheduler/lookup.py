"""Asks the cache for the blocks of a request, without letting the scheduler wait for slow tiers.

What lies in memory is leased at once. What lies behind it is fetched in the background: the answer is `PENDING` until
it is there, or until waiting would cost more than it saves. Called by the scheduler's one thread.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ... import _native
from ..reports.sources import Sources
from ..reports.tally import Tally
from .presence import presence

logger = logging.getLogger("vllm.reprise")

_PATIENCE, _PAUSE = 3, 5.0  # So many timeouts in a row, and nothing is asked for so many seconds,
_LONGEST_PAUSE = 60.0  # then, after each single one, for twice as long as before, up to this.
_MAX_FETCHES = 4096
_POLL = 0.002  # Seconds between two looks at what is being fetched.


class Pending(enum.Enum):
    """The type of PENDING."""

    PENDING = "pending"


PENDING = Pending.PENDING


@dataclass
class _Fetch:
    until: float
    look_at: float
    over: bool = False
    """It was waited for: a request is put off once, however often it asks."""


class Lookup:
    """Leases over the common run of all ranks and KV groups."""

    def __init__(self, cache: _native.Cache, timeout: float, fetch_timeout: float, tally: Tally) -> None:
        """`timeout`: of one call; `fetch_timeout`: longest time a request may wait for a slow tier. Seconds."""
        self._cache = cache
        self._timeout = timeout
        self._fetch_timeout = fetch_timeout
        self._tally = tally
        self.sources = Sources()
        self._fetches: dict[str, _Fetch] = {}
        self._timeouts = 0
        self._pause = _PAUSE
        self._paused_until = 0.0

    def ask(self, request_id: str, chains: Sequence[_native.Chain],
            worth: Callable[[int], float]) -> _native.Lease | Pending | None:
        """None: nothing is there. `worth`: seconds that so many blocks of each chain are worth waiting for."""
        now = time.monotonic()
        if now < self._paused_until:
            return None
        self.sources.ask(request_id)
        try:
            if self.sources.slow_tier:
                fetch = self._fetches.get(request_id)
                look = fetch is None or (not fetch.over and fetch.look_at <= now < fetch.until)
                found = self._match(chains) if look else None
                if found:
                    self.sources.seen(request_id, found)
                if found and found.blocks == 0:
                    self.forget(request_id)
                    return None
                if self._must_wait(request_id, chains, found, now, worth):
                    return PENDING
            return self._acquire(request_id, chains)
        except Exception as error:
            self._tally.problem(logger, "lookup", error)
            return None

    def capacity(self) -> int:
        """Bytes of memory that the cache has; 0 while nobody answers."""
        return int(self._cache.stats().l1.capacity_bytes)

    def presence(self, namespaces: Sequence[_native.Namespace], keys: Sequence[bytes]) -> list[bool | None]:
        """Which blocks are there, as presence.py has it. Any thread may ask."""
        return presence(self._cache, namespaces, keys, self._timeout)

    def forget(self, request_id: str) -> None:
        """The request does not ask any more."""
        self._fetches.pop(request_id, None)

    def close(self) -> None:
        """Leaves the cache."""
        self._cache.close()

    def _must_wait(self, request_id: str, chains: Sequence[_native.Chain], found: _native.Match | None, now: float,
                   worth: Callable[[int], float]) -> bool:
        """`found`: None where it is not time to look, or no longer."""
        fetch = self._fetches.get(request_id)
        if fetch is None and found and found.from_l2 and len(self._fetches) < _MAX_FETCHES:
            until = now + min(self._fetch_timeout, worth(found.blocks))
            self._cache.prefetch(chains, timeout=self._timeout)
            self._fetches[request_id] = _Fetch(until, now + _POLL)
            return True
        if fetch is None or fetch.over:
            return False
        if now >= fetch.until or (found and not found.from_l2):
            fetch.over = True
            return False
        if found:
            fetch.look_at = now + _POLL
        return True

    def _match(self, chains: Sequence[_native.Chain]) -> _native.Match:
        match = self._cache.match(chains, timeout=self._timeout)
        self._note(match.reason)
        return match

    def _acquire(self, request_id: str, chains: Sequence[_native.Chain]) -> _native.Lease | None:
        lease = self._cache.acquire(chains, timeout=self._timeout)
        match = lease.match
        self._note(match.reason if match else _native.Reason.UNAVAILABLE)
        if match:
            self.sources.seen(request_id, match)
        if match is None or match.blocks == 0:
            release(lease)
            return None
        return lease

    def _note(self, reason: _native.Reason) -> None:
        if reason != _native.Reason.TIMEOUT:
            self._timeouts, self._pause = 0, _PAUSE
            return
        self._timeouts += 1
        if self._timeouts >= _PATIENCE:
            self._paused_until = time.monotonic() + self._pause
            logger.warning("Reprise: lookups take longer than %.2f s; none for %.0f s", self._timeout, self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def release(lease: _native.Lease) -> None:
    """Gives a lease back, whatever state it is in."""
    try:
        lease.release()
    except Exception as error:  # Its connection broke: the server has ended it.
        logger.debug("Reprise: releasing a lease: %s", error)
