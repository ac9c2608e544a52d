"""The half of the connector in the scheduler: what is promised, what to load, what to save.

Called by the scheduler's one thread. A promise is a lease over the blocks of all ranks, kept until the workers have
reported the step that reads them. Whatever fails here, the answer is "nothing is there".
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _native
from .events import Events, Offer
from .gains import Gains
from .home import Home
from .identity import Shard, host
from .lookup import PENDING, Lookup, release
from .plan import Load, Plan, Save
from .settings import Settings
from .tables import BlockTables
from .tally import Tally

logger = logging.getLogger("vllm.reprise")

_KEY = 16
_MAX_FAILED = 1 << 16  # Keys remembered as not to be promised.
_FORGET_AFTER = 60.0  # Seconds after which an engine that saves nothing tries a key again that failed.
_MAX_STEPS = 1024  # Steps remembered whose outcome is not known.
_HOLD_FOR = 60.0  # Seconds a lease is kept for workers that do not report.


@dataclass
class _Promise:
    """What one request was told that it would get."""

    lease: _native.Lease
    first: int
    end: int
    blocks: int
    leased: int
    made_at: float


@dataclass
class _Step:
    """A step whose outcome is not known yet."""

    number: int = 0
    leases: list[_native.Lease] = field(default_factory=list)
    keys_of: dict[int, bytes] = field(default_factory=dict)
    planned_at: float = 0.0
    tokens: int = 0


class SchedulerSide:
    """Promises and plans."""

    def __init__(self, settings: Settings, lookup: Lookup | None, home: Home, tables: BlockTables, *,
                 scope: str, overlapping: bool, saves: bool) -> None:
        """`overlapping`: a step may be planned before the outcome of the one before it is known."""
        self._home = home
        self._scope = self._first_scope = scope
        self._settings = settings
        self._lookup = lookup
        self._tables = tables
        self._overlapping = overlapping
        self._saves = saves
        self._shards: list[Shard] = []
        self._namespaces: list[_native.Namespace] = []
        self._promises: dict[str, _Promise] = {}
        self._loads: list[tuple[Load, _Promise, bytes]] = []
        self._steps: deque[_Step] = deque()
        self._number = 0
        self._failed: OrderedDict[bytes, float] = OrderedDict()  # And when.
        self._asked = ("", 0)  # Who was asked for last, and for how many tokens.
        self.gains = Gains()
        self.events: Events | None = None
        self.event_checks = settings.event_checks
        self._tally = Tally()

    def set_shards(self, shards: Sequence[Shard], expected: int) -> str:
        """Learns what each rank holds, in order. Returns why nothing can be cached, or an empty text."""
        problems = [shard.problem for shard in shards if shard.problem]
        problems += [f"rank {i} runs on another host: only engines of one host can be cached in this version"
                     for i, shard in enumerate(shards) if shard.host != host() and not shard.problem]
        problems += [problem] if (problem := self._tables.problem()) else []
        if len(shards) != expected:
            problems.append(f"{len(shards)} of {expected} ranks have told what they hold")
        if problems:
            return problems[0]
        self._shards = list(shards)
        self._namespaces = [shard.namespace(self._scope) for shard in shards]
        return ""

    # --- vLLM's calls, in the order of a step ---

    def promise(self, request: Any, computed_tokens: int) -> int | None:
        """Tokens behind `computed_tokens` that come from the cache: whole blocks, the last token left to compute.

        None: they are being fetched, ask again.
        """
        try:
            return self._promise(request, computed_tokens)
        except Exception as error:
            self._tally.problem(logger, "lookup", error)
            self._drop(request.request_id)
            return 0

    def _promise(self, request: Any, computed_tokens: int) -> int | None:
        self._asked = (request.request_id, request.num_tokens - computed_tokens)
        tokens = self._tables.block_tokens
        if computed_tokens % tokens:
            return 0
        first, end = computed_tokens // tokens, (request.num_tokens - 1) // tokens
        made = self._promises.get(request.request_id)
        if made and (made.first, made.end) == (first, end) and made.lease.valid:
            return made.blocks * tokens  # It could not be scheduled, and asks again.
        self._drop(request.request_id)
        if not self._usable(request):
            return 0
        keys = self._without_failed(self._tables.keys(request)[first * _KEY:end * _KEY])
        if not keys:
            return 0
        lease = self._lookup.ask(request.request_id, keys, self._namespaces, self._worth) if self._lookup else None
        if lease is PENDING:
            return None
        blocks = lease.match.blocks if lease and lease.match else 0
        if not lease or not blocks:
            return 0
        leased = len(lease) // len(self._namespaces)
        self._promises[request.request_id] = _Promise(lease, first, end, blocks, leased, time.monotonic())
        return blocks * tokens

    def allocated(self, request: Any, block_ids: Sequence[Sequence[int]], external_tokens: int) -> None:
        """The promise is taken, or given up where `external_tokens` is 0."""
        self._tables.track(request)
        if self._asked[0] == request.request_id:
            self.gains.asked += self._asked[1]
            self._asked = ("", 0)
        promise = self._promises.pop(request.request_id, None)
        if promise is None:
            return
        blocks = min(external_tokens // self._tables.block_tokens, promise.blocks)
        if blocks <= 0:
            release(promise.lease)
            return
        ids = list(block_ids[0][promise.first:promise.first + blocks])
        keys = self._tables.keys(request)[promise.first * _KEY:(promise.first + blocks) * _KEY]
        load = Load(request.request_id, promise.lease.token, promise.leased, ids)
        self._loads.append((load, promise, keys))
        self.gains.found += blocks * self._tables.block_tokens

    def plan(self, output: Any) -> Plan:
        """The step's loads, and the saves of what it completes."""
        now = time.monotonic()
        self._number += 1
        step = _Step(self._number, planned_at=now)
        for load, promise, keys in self._loads:
            step.leases.append(promise.lease)
            for i, block_id in enumerate(load.block_ids):
                step.keys_of[block_id] = keys[i * _KEY:(i + 1) * _KEY]
        plan = Plan([load for load, _, _ in self._loads], [], self._number, self._home, self._scope)
        loads, self._loads = self._loads, []
        self._expire(now)
        uncertain = bool(step.keys_of) or any(s.keys_of for s in self._steps)
        # Of several ranks one may fail alone, and what the others compute is wrong as well: wait for the outcome.
        hold = uncertain and (len(self._namespaces) > 1 or self._overlapping)
        able = self._saves and self._lookup is not None and bool(self._namespaces)
        plan.saves = saves = self._advance(output, save=able and not hold)
        if self.events:
            self.events.planned(self._number, self._offers(saves), self._offers_loaded(loads))
        step.tokens = output.total_num_scheduled_tokens
        self.gains.saved += sum(len(save.block_ids) for save in saves) * self._tables.block_tokens
        self.gains.log(logger, now)
        if self._failed:
            for save in saves:
                for at in range(save.first * _KEY, len(save.keys), _KEY):
                    self._failed.pop(save.keys[at:at + _KEY], None)
        if step.tokens or step.leases:  # Others move nothing.
            self._steps.append(step)
            if len(self._steps) > _MAX_STEPS:
                self._over(self._steps.popleft(), ())
        return plan

    def outcome(self, number: int, invalid_block_ids: Collection[int], unsaved: Collection[int] = ()) -> None:
        """The workers have finished step `number`. Those before it are over as well.

        unsaved: indices of the plan's saves of which some rank does not have every block.
        """
        if self.events:
            self.events.reported(number, unsaved, bool(invalid_block_ids))
        while self._steps and self._steps[0].number <= number:
            step = self._steps.popleft()
            self._over(step, invalid_block_ids if step.number == number else ())

    def _over(self, step: _Step, invalid_block_ids: Iterable[int]) -> None:
        now = time.monotonic()
        self.gains.step(step.tokens, len(step.keys_of), now - step.planned_at)
        invalid = [step.keys_of[i] for i in invalid_block_ids if i in step.keys_of]
        for key in invalid:
            self._failed[key] = now
            self._failed.move_to_end(key)
        while len(self._failed) > _MAX_FAILED:
            self._failed.popitem(last=False)
        if invalid:
            self.gains.failed += len(invalid) * self._tables.block_tokens
            self._tables.rewind()
        for lease in step.leases:
            release(lease)

    def finished(self, request_id: str) -> None:
        """The request is over, or was aborted."""
        self._drop(request_id)
        kept = []
        for entry in self._loads:
            if entry[0].request_id == request_id:
                release(entry[1].lease)
            else:
                kept.append(entry)
        self._loads = kept
        if self._lookup:
            self._lookup.forget(request_id)
        self._tables.forget(request_id)

    def reset(self) -> bool:
        """Nothing stored so far is found again by this engine."""
        self._scope = f"{self._first_scope}:{uuid.uuid4().hex}"
        self._namespaces = [shard.namespace(self._scope) for shard in self._shards]
        for request_id in list(self._promises):
            self._drop(request_id)
        self._tables.outdate()
        self._failed.clear()
        if self.events:
            self.events.reset()
        return True

    def close(self) -> None:
        """Gives everything back."""
        if self.events:
            self.events.close()
        for request_id in list(self._promises):
            self._drop(request_id)
        for step in self._steps:
            for lease in step.leases:
                release(lease)
        self._steps.clear()
        if self._lookup:
            self._lookup.close()
            self._lookup = None

    def there(self, group: int, keys: Sequence[bytes]) -> Sequence[bool | None]:
        """Which of these blocks every rank has in the cache; None for what is not known. Any thread may ask."""
        lookup, namespaces = self._lookup, self._namespaces
        if lookup is None or not namespaces:
            return [None] * len(keys)
        return lookup.presence(namespaces, keys)

    # --- inside ---

    def _offers(self, saves: Sequence[Save]) -> list[Offer]:
        return [Offer.of(self._tables.request(save.request_id), save.keys[save.first * _KEY:], save.first)
                for save in saves]

    def _offers_loaded(self, loads: Sequence[tuple[Load, _Promise, bytes]]) -> list[Offer]:
        return [Offer.of(self._tables.request(load.request_id), keys, promise.first) for load, promise, keys in loads]

    def _usable(self, request: Any) -> bool:
        return (self._lookup is not None and bool(self._namespaces)
                and not getattr(request, "skip_reading_prefix_cache", False) and self._tables.known(request))

    def _worth(self, blocks: int) -> float:
        """Seconds that computing so many blocks takes here; nobody waits longer for them."""
        rate = self.gains.tokens_per_second
        if not rate or self._settings.fetch_if_slower:
            return self._settings.fetch_timeout
        return blocks * self._tables.block_tokens / rate

    def _advance(self, output: Any, *, save: bool) -> list[Save]:
        try:
            return self._tables.advance(output, save=save)
        except Exception as error:  # What it has followed so far is of no use: ids would be those of other blocks.
            self._tally.problem(logger, "save", error)
            self._tables.clear()
            return []

    def _without_failed(self, keys: bytes) -> bytes:
        if not self._saves:  # Nobody here stores them anew.
            old = time.monotonic() - _FORGET_AFTER
            while self._failed and next(iter(self._failed.values())) < old:
                self._failed.popitem(last=False)
        if self._failed:
            for at in range(0, len(keys), _KEY):
                if keys[at:at + _KEY] in self._failed:
                    return keys[:at]
        return keys

    def _drop(self, request_id: str) -> None:
        promise = self._promises.pop(request_id, None)
        if promise:
            release(promise.lease)

    def _expire(self, now: float) -> None:
        """Leases of what nobody asked for again, and of steps that are not reported."""
        for request_id, promise in list(self._promises.items()):
            if now - promise.made_at > _HOLD_FOR:
                self._drop(request_id)
        for step in self._steps:  # The step stays: its outcome says what of it is good.
            if step.leases and now - step.planned_at > _HOLD_FOR:
                for lease in step.leases:
                    release(lease)
                step.leases = []


def shards_in_order(handshakes: Mapping[tuple[int, int], Any]) -> list[Shard]:
    """By pipeline rank, then tensor rank: the order of a lease's parts."""
    # Where several connectors are used at once, vLLM passes on what the first of them told.
    strange = Shard(problem="the ranks told what another connector in MultiConnector wants to know: use one of the two")
    return [getattr(handshakes[rank], "shard", strange) for rank in sorted(handshakes)]
