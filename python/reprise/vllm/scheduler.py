"""The half of the connector in the scheduler: what is promised, what to load, what to save.

Called by the scheduler's one thread. A promise is a lease over the blocks of all ranks, kept until the workers have
reported the step that reads them. Whatever fails here, the answer is "nothing is there".
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _native
from .identity import Shard
from .plan import Load, Plan
from .settings import Settings
from .tables import BlockTables
from .tally import Tally

logger = logging.getLogger("vllm.reprise")

_KEY = 16
_MAX_FAILED = 1 << 16  # Keys remembered as not to be promised.
_HOLD_FOR = 60.0  # Seconds a lease is kept for workers that do not report.
_PATIENCE, _PAUSE = 3, 5.0  # So many timeouts in a row, and nothing is asked for so many seconds.


@dataclass
class _Promise:
    """What one request was told that it would get."""

    lease: _native.Lease
    first: int
    blocks: int
    leased: int
    made_at: float


@dataclass
class _Step:
    """A step whose outcome is not known yet."""

    leases: list[_native.Lease] = field(default_factory=list)
    keys_of: dict[int, bytes] = field(default_factory=dict)
    planned_at: float = 0.0


class SchedulerSide:
    """Promises and plans."""

    def __init__(self, settings: Settings, cache: _native.Cache | None, tables: BlockTables, *, overlapping: bool,
                 saves: bool) -> None:
        """`overlapping`: a step may be planned before the outcome of the one before it is known."""
        self._settings = settings
        self._cache = cache
        self._tables = tables
        self._overlapping = overlapping
        self._saves = saves
        self._shards: list[Shard] = []
        self._namespaces: list[_native.Namespace] = []
        self._epoch = ""
        self._promises: dict[str, _Promise] = {}
        self._loads: list[tuple[Load, _Promise, bytes]] = []
        self._steps: deque[_Step] = deque()
        self._failed: OrderedDict[bytes, None] = OrderedDict()
        self._timeouts = 0
        self._paused_until = 0.0
        self.tally = Tally()

    def set_shards(self, shards: Sequence[Shard], expected: int) -> str:
        """Learns what each rank holds, in order. Returns why nothing can be cached, or an empty text."""
        problems = [shard.problem for shard in shards if shard.problem]
        if len(shards) != expected:
            problems.append(f"{len(shards)} of {expected} ranks have told what they hold")
        if problems:
            return problems[0]
        self._shards = list(shards)
        self._namespaces = [shard.namespace(self._epoch) for shard in shards]
        return ""

    # --- vLLM's calls, in the order of a step ---

    def promise(self, request: Any, computed_tokens: int) -> int:
        """Tokens behind `computed_tokens` that come from the cache: whole blocks, the last token left to compute."""
        self._drop(request.request_id)
        if not self._usable(request):
            return 0
        tokens = self._tables.block_tokens
        first, end = computed_tokens // tokens, (request.num_tokens - 1) // tokens
        keys = self._tables.keys(request)[first * _KEY:end * _KEY]
        keys = self._without_failed(keys)
        if not keys:
            return 0
        lease = self._acquire(keys)
        blocks = lease.match.blocks if lease and lease.match else 0
        if not lease or not blocks:
            return 0
        leased = len(lease) // len(self._namespaces)
        self._promises[request.request_id] = _Promise(lease, first, blocks, leased, time.monotonic())
        return blocks * tokens

    def allocated(self, request: Any, block_ids: Sequence[Sequence[int]], external_tokens: int) -> None:
        """The promise is taken, or given up where `external_tokens` is 0."""
        self._tables.track(request)
        promise = self._promises.pop(request.request_id, None)
        if promise is None:
            return
        blocks = min(external_tokens // self._tables.block_tokens, promise.blocks)
        if blocks <= 0:
            _release(promise.lease)
            return
        ids = list(block_ids[0][promise.first:promise.first + blocks])
        keys = self._tables.keys(request)[promise.first * _KEY:(promise.first + blocks) * _KEY]
        load = Load(request.request_id, promise.lease.token, promise.leased, ids)
        self._loads.append((load, promise, keys))
        self.tally.loaded(blocks * len(self._shards), self._shards[0], 0.0)

    def plan(self, output: Any) -> Plan:
        """The step's loads, and the saves of what it completes."""
        now = time.monotonic()
        step = _Step(planned_at=now)
        for load, promise, keys in self._loads:
            step.leases.append(promise.lease)
            for i, block_id in enumerate(load.block_ids):
                step.keys_of[block_id] = keys[i * _KEY:(i + 1) * _KEY]
        plan = Plan([load for load, _, _ in self._loads], [], self._epoch)
        self._loads = []
        self._expire(now)
        uncertain = bool(step.leases) or any(s.leases for s in self._steps)
        # Of several ranks one may fail alone, and what the others compute is wrong as well: wait for the outcome.
        hold = uncertain and (len(self._namespaces) > 1 or self._overlapping)
        saves = self._tables.advance(output, save=self._saves and bool(self._namespaces) and not hold)
        plan.saves = saves
        if self._failed:
            for save in saves:
                for at in range(save.first * _KEY, len(save.keys), _KEY):
                    self._failed.pop(save.keys[at:at + _KEY], None)
        self._steps.append(step)
        return plan

    def outcome(self, invalid_block_ids: Iterable[int]) -> None:
        """The workers have reported the oldest step."""
        if not self._steps:
            return
        step = self._steps.popleft()
        invalid = [step.keys_of[i] for i in invalid_block_ids if i in step.keys_of]
        for key in invalid:
            self._failed[key] = None
        while len(self._failed) > _MAX_FAILED:
            self._failed.popitem(last=False)
        if invalid:
            self.tally.failed(len(invalid))
            self._tables.rewind()
        for lease in step.leases:
            _release(lease)

    def finished(self, request_id: str) -> None:
        """The request is over, or was aborted."""
        self._drop(request_id)
        kept = []
        for entry in self._loads:
            if entry[0].request_id == request_id:
                _release(entry[1].lease)
            else:
                kept.append(entry)
        self._loads = kept
        self._tables.forget(request_id)

    def reset(self) -> bool:
        """Nothing stored so far is found again by this engine."""
        self._epoch = uuid.uuid4().hex
        self._namespaces = [shard.namespace(self._epoch) for shard in self._shards]
        for request_id in list(self._promises):
            self._drop(request_id)
        self._failed.clear()
        return True

    def close(self) -> None:
        """Gives everything back."""
        for request_id in list(self._promises):
            self._drop(request_id)
        for step in self._steps:
            for lease in step.leases:
                _release(lease)
        self._steps.clear()
        if self._cache:
            self._cache.close()
            self._cache = None

    # --- inside ---

    def _usable(self, request: Any) -> bool:
        return (self._cache is not None and bool(self._namespaces) and time.monotonic() >= self._paused_until
                and not getattr(request, "skip_reading_prefix_cache", False) and self._tables.known(request))

    def _without_failed(self, keys: bytes) -> bytes:
        if self._failed:
            for at in range(0, len(keys), _KEY):
                if keys[at:at + _KEY] in self._failed:
                    return keys[:at]
        return keys

    def _acquire(self, keys: bytes) -> _native.Lease | None:
        cache = self._cache
        if cache is None:
            return None
        try:
            chains = [_native.Chain(ns, keys) for ns in self._namespaces]
            lease = cache.acquire(chains, timeout=self._settings.lookup_timeout)
        except Exception as error:
            self.tally.problem(logger, "lookup", error)
            return None
        if lease.match and lease.match.reason == _native.Reason.TIMEOUT:
            self._timeouts += 1
            if self._timeouts >= _PATIENCE:
                self._timeouts = 0
                self._paused_until = time.monotonic() + _PAUSE
                logger.warning("Reprise: lookups take longer than %.2f s; none for %.0f s",
                               self._settings.lookup_timeout, _PAUSE)
        else:
            self._timeouts = 0
        if lease.match is None or lease.match.blocks == 0:
            _release(lease)
            return None
        return lease

    def _drop(self, request_id: str) -> None:
        promise = self._promises.pop(request_id, None)
        if promise:
            _release(promise.lease)

    def _expire(self, now: float) -> None:
        """What nobody asked for again, and steps that were never reported."""
        for request_id, promise in list(self._promises.items()):
            if now - promise.made_at > _HOLD_FOR:
                self._drop(request_id)
        while self._steps and now - self._steps[0].planned_at > _HOLD_FOR:
            for lease in self._steps.popleft().leases:
                _release(lease)


def _release(lease: _native.Lease) -> None:
    try:
        lease.release()
    except Exception as error:  # Its connection broke: the server has ended it.
        logger.debug("Reprise: releasing a lease: %s", error)


def shards_in_order(handshakes: Mapping[tuple[int, int], Any]) -> list[Shard]:
    """By pipeline rank, then tensor rank: the order of a lease's parts."""
    return [handshakes[rank].shard for rank in sorted(handshakes)]
