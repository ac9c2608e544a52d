"""The half of the connector in the scheduler: what is promised, what to load, what to save.

Called by the scheduler's one thread. A promise is a lease over the blocks of all ranks, kept until the workers have
reported the step that reads them. Whatever fails here, the answer is "nothing is there".
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _native
from .gains import Gains
from .groups import KEY, Groups
from .home import Home
from .identity import Shard, host
from .lookup import PENDING, Lookup, release
from .plan import Load, Plan, Save
from .settings import Settings
from .tables import BlockTables
from .tally import Tally

logger = logging.getLogger("vllm.reprise")

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
    keys: list[bytes]
    made_at: float


@dataclass
class _Loading:
    """What is read into the engine, and whose outcome is not known yet."""

    load: Load
    lease: _native.Lease
    keys: list[bytes]
    """Of what it reads. Where part of a load may fail, one for each block."""

    def lost(self, invalid: Collection[int], failed: Collection[str]) -> list[bytes]:
        """Keys that did not come."""
        if self.load.awaited:
            return self.keys if self.load.request_id in failed else []
        ids = [i for piece in self.load.pieces for i in piece.block_ids]
        return [key for i, key in zip(ids, self.keys, strict=False) if i in invalid]


@dataclass
class _Step:
    """A step whose outcome is not known yet."""

    number: int = 0
    loads: list[_Loading] = field(default_factory=list)
    planned_at: float = 0.0
    tokens: int = 0

    @property
    def computes_on_loads(self) -> bool:
        """What it computes is wrong if a load of it fails."""
        return any(not loading.load.awaited for loading in self.loads)

    def release(self) -> None:
        """Gives the leases back. What was to be loaded stays known."""
        for loading in self.loads:
            release(loading.lease)


class SchedulerSide:
    """Promises and plans."""

    def __init__(self, settings: Settings, lookup: Lookup | None, home: Home, groups: Groups, tables: BlockTables, *,
                 scope: str, overlapping: bool, saves: bool) -> None:
        """`overlapping`: a step may be planned before the outcome of the one before it is known."""
        self._home = home
        self._scope = self._first_scope = scope
        self._settings = settings
        self._lookup = lookup
        self._groups = groups
        self._tables = tables
        self._overlapping = overlapping
        self._saves = saves
        self._shards: list[Sequence[Shard]] = []  # By rank and group, and so are the namespaces.
        self._namespaces: list[list[_native.Namespace]] = []
        self._promises: dict[str, _Promise] = {}
        self._loads: list[_Loading] = []
        self._steps: deque[_Step] = deque()
        self._number = 0
        self._failed: OrderedDict[bytes, float] = OrderedDict()  # And when.
        self._asked = ("", 0)  # Who was asked for last, and for how many tokens.
        self.gains = Gains()
        self._tally = Tally()

    def set_shards(self, shards: Sequence[Sequence[Shard]], expected: int) -> str:
        """Learns what each rank holds of each group, in order. Returns why nothing can be cached, or an empty text."""
        problems = [shard.problem for of_rank in shards for shard in of_rank if shard.problem]
        problems += [f"rank {i} runs on another host: only engines of one host can be cached in this version"
                     for i, of_rank in enumerate(shards) if any(s.host != host() and not s.problem for s in of_rank)]
        problems += [f"rank {i} has {len(of_rank)} KV groups and the scheduler {len(self._groups.all)}"
                     for i, of_rank in enumerate(shards) if len(of_rank) != len(self._groups.all)]
        problems += [problem] if (problem := self._tables.problem()) else []
        if len(shards) != expected:
            problems.append(f"{len(shards)} of {expected} ranks have told what they hold")
        if problems:
            return problems[0]
        self._shards = list(shards)
        self._namespaces = self._named()
        return ""

    # --- vLLM's calls, in the order of a step ---

    def promise(self, request: Any, computed_tokens: int) -> tuple[int | None, bool]:
        """Tokens behind `computed_tokens` that come from the cache, in whole units, the last token left to compute;
        and whether the request has to wait for them outside of steps.

        None: they are being fetched, ask again.
        """
        try:
            tokens = self._promise(request, computed_tokens)
        except Exception as error:
            self._tally.problem(logger, "lookup", error)
            self._drop(request.request_id)
            tokens = 0
        return tokens, bool(tokens) and not self._groups.partial

    def _promise(self, request: Any, computed_tokens: int) -> int | None:
        self._asked = (request.request_id, request.num_tokens - computed_tokens)
        unit = self._groups.unit
        if computed_tokens % unit:
            return 0
        first, end = computed_tokens // unit, (request.num_tokens - 1) // unit
        made = self._promises.get(request.request_id)
        if made and (made.first, made.end) == (first, end) and made.lease.valid:
            return made.blocks * unit  # It could not be scheduled, and asks again.
        self._drop(request.request_id)
        if not self._usable(request):
            return 0
        keys = self._tables.keys(request)
        usable = self._before_failed(keys, first, end)
        if usable <= first or self._lookup is None:
            return 0
        chains = self._groups.chains(self._namespaces, keys, first, usable)
        lease = self._lookup.ask(request.request_id, chains, self._worth)
        if lease is PENDING:
            return None
        blocks = lease.match.blocks if lease and lease.match else 0
        if not lease or not blocks:
            return 0
        leased = len(lease) // len(self._namespaces)
        named = self._groups.keys_between(keys, first, first + blocks)
        self._promises[request.request_id] = _Promise(lease, first, end, blocks, leased, named, time.monotonic())
        return blocks * unit

    def allocated(self, request: Any, block_ids: Sequence[Sequence[int]], external_tokens: int) -> None:
        """The promise is taken, or given up where `external_tokens` is 0."""
        self._tables.track(request)
        if self._asked[0] == request.request_id:
            self.gains.asked += self._asked[1]
            self._asked = ("", 0)
        promise = self._promises.pop(request.request_id, None)
        if promise is None:
            return
        unit = self._groups.unit
        taken = min(external_tokens // unit, promise.blocks)
        if taken <= 0:
            release(promise.lease)
            return
        pieces, good = self._groups.pieces(block_ids, promise.first, promise.blocks, taken)
        load = Load(request.request_id, promise.lease.token if good else b"", promise.leased, pieces,
                    awaited=not self._groups.partial)
        self._loads.append(_Loading(load, promise.lease, promise.keys))
        self.gains.found += taken * unit

    def plan(self, output: Any) -> Plan:
        """The step's loads, and the saves of what it completes."""
        now = time.monotonic()
        self._number += 1
        step = _Step(self._number, self._loads, now)
        plan = Plan([loading.load for loading in self._loads], [], self._number, self._home, self._scope)
        self._loads = []
        self._expire(now)
        uncertain = any(one.computes_on_loads for one in (step, *self._steps))
        # Of several ranks one may fail alone, and what the others compute is wrong as well: wait for the outcome.
        hold = uncertain and (len(self._namespaces) > 1 or self._overlapping)
        able = self._saves and self._lookup is not None and bool(self._namespaces)
        plan.saves = saves = self._advance(output, save=able and not hold)
        step.tokens = output.total_num_scheduled_tokens
        self.gains.saved += sum(len(save.block_ids) * self._groups.all[save.group].block_tokens
                                for save in saves) // len(self._groups.all)
        self.gains.log(logger, now)
        if self._failed:
            for save in saves:
                for at in range(save.first * KEY, len(save.keys), KEY):
                    self._failed.pop(save.keys[at:at + KEY], None)
        if step.tokens or step.loads:  # Others move nothing.
            self._steps.append(step)
            if len(self._steps) > _MAX_STEPS:
                self._over(self._steps.popleft(), (), ())
        return plan

    def outcome(self, number: int, invalid_block_ids: Collection[int], failed_requests: Collection[str]) -> None:
        """The workers have finished step `number`. Those before it are over as well."""
        while self._steps and self._steps[0].number <= number:
            step = self._steps.popleft()
            known = step.number == number
            self._over(step, invalid_block_ids if known else (), failed_requests if known else ())

    def _over(self, step: _Step, invalid_block_ids: Collection[int], failed_requests: Collection[str]) -> None:
        now = time.monotonic()
        self.gains.step(step.tokens, len(step.loads), now - step.planned_at)
        lost = [key for loading in step.loads for key in loading.lost(invalid_block_ids, failed_requests)]
        for key in lost:
            self._failed[key] = now
            self._failed.move_to_end(key)
        while len(self._failed) > _MAX_FAILED:
            self._failed.popitem(last=False)
        if lost:
            self.gains.failed += len(lost) * self._groups.unit
            self._tables.rewind()
        step.release()

    def finished(self, request_id: str) -> None:
        """The request is over, or was aborted."""
        self._drop(request_id)
        for loading in self._loads:
            if loading.load.request_id == request_id and not loading.load.awaited:
                release(loading.lease)
        # vLLM keeps the blocks of who waits for a load until it hears of it.
        self._loads = [one for one in self._loads if one.load.request_id != request_id or one.load.awaited]
        if self._lookup:
            self._lookup.forget(request_id)
        self._tables.forget(request_id)

    def reset(self) -> bool:
        """Nothing stored so far is found again by this engine."""
        self._scope = f"{self._first_scope}:{uuid.uuid4().hex}"
        self._namespaces = self._named()
        for request_id in list(self._promises):
            self._drop(request_id)
        self._tables.outdate()
        self._failed.clear()
        return True

    def close(self) -> None:
        """Gives everything back."""
        for request_id in list(self._promises):
            self._drop(request_id)
        for step in self._steps:
            step.release()
        self._steps.clear()
        if self._lookup:
            self._lookup.close()
            self._lookup = None

    # --- inside ---

    def _named(self) -> list[list[_native.Namespace]]:
        return [[shard.namespace(self._scope) for shard in of_rank] for of_rank in self._shards]

    def _usable(self, request: Any) -> bool:
        return (self._lookup is not None and bool(self._namespaces)
                and not getattr(request, "skip_reading_prefix_cache", False) and self._tables.known(request))

    def _worth(self, blocks: int) -> float:
        """Seconds that computing so many blocks takes here; nobody waits longer for them."""
        rate = self.gains.tokens_per_second
        if not rate or self._settings.fetch_if_slower:
            return self._settings.fetch_timeout
        return blocks * self._groups.unit / rate

    def _advance(self, output: Any, *, save: bool) -> list[Save]:
        try:
            return self._tables.advance(output, save=save)
        except Exception as error:  # What it has followed so far is of no use: ids would be those of other blocks.
            self._tally.problem(logger, "save", error)
            self._tables.clear()
            return []

    def _before_failed(self, keys: Sequence[bytearray], first: int, end: int) -> int:
        """The unit that is not to be asked for any more: `end`, or one that has a key that failed or none yet."""
        if not self._saves:  # Nobody here stores them anew.
            old = time.monotonic() - _FORGET_AFTER
            while self._failed and next(iter(self._failed.values())) < old:
                self._failed.popitem(last=False)
        for group, packed in enumerate(keys):
            stride = self._groups.stride(group)
            end = min(end, len(packed) // KEY // stride)
            for i in range(first * stride, end * stride) if self._failed else ():
                if bytes(packed[i * KEY:(i + 1) * KEY]) in self._failed:
                    end = i // stride
                    break
        return end

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
            if now - step.planned_at > _HOLD_FOR:
                step.release()


def shards_in_order(handshakes: Mapping[tuple[int, int], Any]) -> list[Sequence[Shard]]:
    """By pipeline rank, then tensor rank: the order of a lease's parts. Of each rank, one for each KV group."""
    # Where several connectors are used at once, vLLM passes on what the first of them told.
    strange = Shard(problem="the ranks told what another connector in MultiConnector wants to know: use one of the two")
    return [getattr(handshakes[rank], "shards", (strange,)) for rank in sorted(handshakes)]
