"""The scheduler side's memory of requests that vLLM has parked while the workers read their blocks.

Each holds the lease over what is read until all ranks have reported. Called by the scheduler's one thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from ... import _native
from .lookup import release


@dataclass
class _Parked:
    lease: _native.Lease | None
    keys: bytes
    since: float
    failed: bool = False
    over: bool = False


class ParkedRequests:
    """Leases and keys by request. Bounded by vLLM: each parked request holds KV blocks of its own."""

    def __init__(self) -> None:
        self._loading: dict[str, _Parked] = {}
        self._back: set[str] = set()  # Their load is over, and vLLM has not scheduled them yet.

    def add(self, request_id: str, lease: _native.Lease, keys: bytes) -> None:
        """The workers are told to read `keys`, 16 bytes each."""
        self._loading[request_id] = _Parked(lease, keys, time.monotonic())

    def failed(self, request_ids: Iterable[str]) -> bytes:
        """Ranks did not get all of these. Returns the keys of which it was not known, in order."""
        keys = b""
        for request_id in request_ids:
            parked = self._loading.get(request_id)
            if parked and not parked.failed:
                parked.failed = True
                keys += parked.keys
        return keys

    def arrived(self, request_ids: Iterable[str]) -> None:
        """All ranks are done with these."""
        for request_id in request_ids:
            parked = self._loading.pop(request_id, None)
            if parked and not parked.over:
                self._back.add(request_id)
            if parked and parked.lease:
                release(parked.lease)

    def returns(self, request_id: str) -> bool:
        """Whether a request that gets blocks goes on with those of its load, and does not begin anew."""
        if request_id not in self._back:
            return False
        self._back.discard(request_id)
        return True

    def forget(self, request_id: str) -> None:
        """The request begins anew."""
        self._back.discard(request_id)

    def over(self, request_id: str) -> None:
        """The request is over. If it is still loading, its lease is kept: the workers read."""
        self._back.discard(request_id)
        if request_id in self._loading:
            self._loading[request_id].over = True

    def expire(self, before: float) -> None:
        """Gives back leases that were taken before then: the server would not hold on to them for ever either."""
        for parked in self._loading.values():
            if parked.lease and parked.since < before:
                release(parked.lease)
                parked.lease = None

    def close(self) -> None:
        """Gives all leases back."""
        self.expire(float("inf"))
        self._loading.clear()
        self._back.clear()
