"""The half of the connector in the scheduler: what is promised, what to load, what to save.

Called by the scheduler's one thread. A promise is a lease over the blocks of all ranks, kept until the workers have
reported the step that reads them, or the request that was parked for them. Whatever fails here, the answer is "nothing
is there".
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import _native
from ..groups import KEY, Groups
from ..home import Home
from ..identity import Shard
from ..plan import Load, Plan, Save
from ..reports.events import Offer
from ..reports.reports import Reports
from ..reports.tally import Tally
from ..settings import Settings
from .failures import FailedKeys
from .lookup import PENDING, Lookup, Pending, release
from .parked import ParkedRequests
from .ranks import Ranks
from .steps import OpenSteps, Step
from .tables import BlockTables

logger = logging.getLogger("vllm.reprise")

_HOLD_FOR = 60.0  # Seconds a lease is kept for workers that do not report.


@dataclass
class _Promise:
    """What one request was told that it would get."""

    lease: _native.Lease
    first: int
    end: int
    blocks: int
    run: int
    """What the lease covers: `blocks`, or one more."""
    leased: int
    keys: list[bytes]
    made_at: float
    parked: bool
    """It is read beside the steps, while vLLM goes on with others."""


class SchedulerSide:
    """Promises and plans."""

    def __init__(self, settings: Settings, lookup: Lookup | None, home: Home, groups: Groups, tables: BlockTables, *,
                 scope: str, overlapping: bool, saves: bool, park_above: int | None = None) -> None:
        """`overlapping`: a step may be planned before the outcome of the one before it is known.

        `park_above`: requests that get more bytes of a rank wait for them beside the steps; None: none does.
        """
        self._home = home
        self._scope = self._first_scope = scope
        self._settings = settings
        self._profiling = (settings.profiling_server, scope or "reprise")
        self._lookup = lookup
        self._groups = groups
        self._tables = tables
        self._overlapping = overlapping
        self._saves = saves
        self._ranks = Ranks()
        self._namespaces: list[list[_native.Namespace]] = []  # By rank and group.
        self._promises: dict[str, _Promise] = {}
        self._loads: list[tuple[Load, _Promise]] = []
        # What cannot fail in part is read beside the steps: whoever gets nothing begins anew.
        self._park_above = park_above if groups.partial else 0
        self._parked = ParkedRequests()
        self._old_blocks = False  # vLLM's own prefix cache has blocks of before the last reset.
        self._begun = ("", False)  # Who asked last, and whether it has blocks of vLLM's own.
        self._steps = OpenSteps()
        self._number = 0
        self._failed = FailedKeys()
        self.beside_others = False  # Another connector may load within a step, too.
        self.settles = False  # What is saved must be in the cache when its step is over.
        self.evict: Callable[[set[int]], None] = lambda block_ids: None  # From vLLM's own prefix cache.
        self.reports = Reports()
        self.gains = self.reports.gains
        self._tally = Tally()

    def set_shards(self, shards: Sequence[Sequence[Shard]], expected: int) -> str:
        """Learns what each rank holds of each group, in order. Returns why nothing can be cached, or an empty text."""
        ranks = Ranks(shards)
        problem = (ranks.problem(expected, len(self._groups.all), self._lookup.capacity() if self._lookup else 0)
                   or self._tables.problem())
        if not problem:
            self._ranks, self._namespaces = ranks, ranks.namespaces(self._scope)
        return problem

    # --- vLLM's calls, in the order of a step ---

    def promise(self, request: Any, computed_tokens: int) -> int | None:
        """Tokens behind `computed_tokens` that come from the cache: whole blocks. See `parks`.

        None: they are being fetched, ask again.
        """
        try:
            return self._promise(request, computed_tokens)
        except Exception as error:
            self._tally.problem(logger, "lookup", error)
            self._drop(request.request_id)
            return 0

    def parks(self, request_id: str) -> bool:
        """Whether what was promised to a request is read beside the steps. If not, a token is left to compute."""
        made = self._promises.get(request_id)
        return made is not None and made.parked

    def _promise(self, request: Any, computed_tokens: int) -> int | None:
        self._parked.forget(request.request_id)
        self._begun = (request.request_id, computed_tokens > 0)
        self.reports.asks(request.request_id, request.num_tokens - computed_tokens)
        unit = self._groups.unit
        if computed_tokens % unit:
            return 0
        # Of a request that was parked, vLLM computes the last token again, whatever has come: but not on a window that
        # was cut for the token behind it.
        spare = 0 if self._park_above is not None and self._groups.partial else 1
        first, end = computed_tokens // unit, (request.num_tokens - spare) // unit
        keys = self._tables.keys(request) if self._usable(request) else []
        if keys and self._loading(keys[0], first):
            return None
        made = self._promises.get(request.request_id)
        if made and (made.first, made.end) == (first, end) and made.lease.valid:
            return made.blocks * unit  # It could not be scheduled, and asks again.
        self._drop(request.request_id)
        if not keys:
            return 0
        lease = self._ask(request.request_id, keys, first, end)
        if lease is PENDING:
            return None
        blocks = lease.match.blocks if lease and lease.match else 0
        if not lease or not blocks:
            return 0
        parked, run = self._large(blocks), blocks
        if not parked:
            blocks = min(blocks, (request.num_tokens - 1) // unit - first)
        if not blocks:
            release(lease)
            return 0
        leased = len(lease) // len(self._namespaces)
        named = self._groups.keys_between(keys, first, first + blocks)
        self._promises[request.request_id] = _Promise(lease, first, end, blocks, run, leased, named, time.monotonic(),
                                                      parked)
        return blocks * unit

    def _loading(self, keys: bytearray, computed: int) -> bool:
        """Whether some of the first `computed` units, which vLLM has by its own account, are to come in this step only.

        Whoever shares them waits for its outcome: after a load that failed, vLLM leaves them to the request that
        loaded, which may be gone before it has computed them.
        """
        return any(promise.first < computed and keys.startswith(promise.keys[0], promise.first * KEY)
                   for load, promise in self._loads if not load.parked)

    def _ask(self, request_id: str, keys: Sequence[bytearray], first: int, end: int) -> _native.Lease | Pending | None:
        for group, packed in enumerate(keys):
            stride = self._groups.stride(group)
            end = min(end, len(packed) // KEY // stride)
            end = self._failed.first(packed, first * stride, end * stride) // stride
        if end <= first or self._lookup is None:
            return None
        chains = self._groups.chains(self._namespaces, keys, first, end)
        answer = self._lookup.ask(request_id, chains, self._worth)
        if answer is not PENDING:
            self._lookup.sources.answered(request_id)
        return answer

    def allocated(self, request: Any, block_ids: Sequence[Sequence[int]], external_tokens: int) -> None:
        """The promise is taken, or given up where `external_tokens` is 0."""
        self._tables.track(request, anew=not self._parked.returns(request.request_id),
                           old=self._old_blocks and self._begun == (request.request_id, True))
        promise = self._promises.pop(request.request_id, None)
        unit = self._groups.unit
        taken = min(external_tokens // unit, promise.blocks) if promise else 0
        if self._lookup:
            self.reports.allocated(request, taken, unit, self._lookup.sources)
        if promise is None:
            return
        if taken <= 0:
            release(promise.lease)
            return
        pieces, good = self._groups.pieces(block_ids, promise.first, promise.run, taken)
        token = promise.lease.token if good else b""
        load = Load(request.request_id, token, promise.leased, pieces, promise.first * unit, promise.parked)
        self._loads.append((load, promise))

    def plan(self, output: Any) -> Plan:
        """The step's loads, and the saves of what it completes."""
        self._number += 1
        step = Step(self._number, output.total_num_scheduled_tokens)
        plan = Plan([load for load, _ in self._loads], [], self._number, self._home, self._scope, self._profiling,
                    idle=not step.tokens, settle=self.settles)
        loads, self._loads = self._loads, []
        for load, promise in loads:
            if load.parked:
                self._parked.add(load.request_id, promise.lease, b"".join(promise.keys))
            else:  # There is one group: a key for each block.
                step.reads(promise.lease, load.pieces[0].block_ids, promise.keys)
        self._expire(step.planned_at)
        step.foreign = getattr(output, "has_sync_kv_loads", False) and (self.beside_others or not step.keys_of)
        plan.saves = step.saves = self._advance(output, save=self._may_save(step))
        self._announce(step.saves, loads)
        step.tables = [self._tables.ids(load.request_id) for load, _ in loads if not load.parked]
        self.gains.log(logger, step.planned_at)
        if step.tokens or step.leases:  # Others move nothing.
            for old in self._steps.add(step):
                self._over(old, ())
        return plan

    def outcome(self, number: int, invalid_block_ids: Collection[int], unsaved: Collection[int] = (),
                stored: int = 0) -> None:
        """The workers have finished step `number`. Those before it are over as well.

        unsaved: indices of the plan's saves of which some rank does not have every block. stored: tokens, of all ranks.
        """
        self.gains.saved += stored // max(1, len(self._namespaces))
        self.reports.outcome(number, unsaved, bool(invalid_block_ids))
        for step in self._steps.until(number):
            if step.number == number:
                self._failed.stored(save for at, save in enumerate(step.saves) if at not in unsaved)
            self._over(step, invalid_block_ids if step.number == number else ())

    def arrived(self, request_ids: Iterable[str], failed: Iterable[str]) -> None:
        """All ranks are done with the parked `request_ids`; one at least did not get all of those in `failed`."""
        keys = self._parked.failed(failed)
        self._failed.add(keys[at:at + KEY] for at in range(0, len(keys), KEY))
        self.gains.failed += len(keys) // KEY * self._groups.unit
        self._parked.arrived(request_ids)

    def _over(self, step: Step, invalid_block_ids: Collection[int]) -> None:
        self.gains.step(step.tokens, len(step.keys_of), time.monotonic() - step.planned_at)
        invalid = [step.keys_of[i] for i in invalid_block_ids if i in step.keys_of]
        if invalid:
            self._failed.add(invalid)
            self.gains.failed += len(invalid) * self._groups.unit
            self._tables.rewind()
            try:  # vLLM shares these blocks even if nobody is left who computes them anew.
                self.evict(step.spoilt(invalid_block_ids))
            except Exception as error:
                self._tally.problem(logger, "removal of blocks that did not come", error)
        step.release()

    def finished(self, request_id: str) -> None:
        """The request is over, or was aborted."""
        self._drop(request_id)
        self._parked.over(request_id)
        kept = []
        for entry in self._loads:  # vLLM waits for the report of what is parked.
            if entry[0].request_id == request_id and not entry[0].parked:
                release(entry[1].lease)
            else:
                kept.append(entry)
        self._loads = kept
        if self._lookup:
            self._lookup.forget(request_id)
            self._lookup.sources.forget(request_id)
        self._tables.forget(request_id)

    def reset(self, kept: bool = False) -> bool:
        """Nothing stored so far is found again by this engine.

        `kept`: vLLM could not empty its own prefix cache. What is computed from that is not stored under new names.
        """
        self._old_blocks = kept
        self._scope = f"{self._first_scope}:{uuid.uuid4().hex}"
        self._namespaces = self._ranks.namespaces(self._scope)
        for request_id in list(self._promises):
            self._drop(request_id)
        self._tables.outdate()
        self._failed.clear()
        self.reports.reset()
        return True

    def close(self) -> None:
        """Gives everything back."""
        self.reports.close()
        for request_id in list(self._promises):
            self._drop(request_id)
        self._steps.close()
        self._parked.close()
        for _, promise in self._loads:
            release(promise.lease)
        self._loads = []
        if self._lookup:
            self._lookup.close()
            self._lookup = None

    def there(self, group: int, keys: Sequence[bytes]) -> Sequence[bool | None]:
        """Which of these blocks every rank has in the cache; None for what is not known. Any thread may ask."""
        lookup, namespaces = self._lookup, self._namespaces
        if lookup is None or not namespaces:
            return [None] * len(keys)
        return lookup.presence([of_rank[group] for of_rank in namespaces], keys)

    # --- inside ---

    def _announce(self, saves: Sequence[Save], loads: Sequence[tuple[Load, _Promise]]) -> None:
        if self.reports.events is None:
            return
        request = self._tables.request
        stored = [Offer.of(request(save.request_id), save.keys[save.first * KEY:], save.first, save.group)
                  for save in saves]
        one = len(self._groups.all) == 1  # A promise over several says nothing of each group's blocks.
        found = [Offer(request(load.request_id), list(promise.keys), promise.first) for load, promise in loads if one]
        self.reports.planned(self._number, stored, found)

    def _may_save(self, step: Step) -> bool:
        if not self._saves or self._lookup is None or not self._namespaces:
            return False
        if step.foreign or self._steps.reading(own=False):
            return False
        # Of several ranks one may fail alone, and what the others compute is wrong as well: wait for the outcome.
        uncertain = bool(step.keys_of) or self._steps.reading()
        return not (uncertain and (len(self._namespaces) > 1 or self._overlapping))

    def _usable(self, request: Any) -> bool:
        return (self._lookup is not None and bool(self._namespaces)
                and not getattr(request, "skip_reading_prefix_cache", False) and self._tables.known(request))

    def _large(self, blocks: int) -> bool:
        return self._park_above is not None and blocks * self._ranks.block_bytes() > self._park_above

    def _worth(self, blocks: int) -> float:
        """Seconds that computing so many blocks takes here; nobody waits longer for them."""
        rate, tokens = self.gains.tokens_per_second, blocks * self._groups.unit
        per_token = self._settings.fetch_timeout_per_token
        longest = tokens * per_token if per_token else self._settings.fetch_timeout
        if not rate or self._settings.fetch_if_slower:
            return longest
        return min(longest, tokens / rate)

    def _advance(self, output: Any, *, save: bool) -> list[Save]:
        try:
            return self._tables.advance(output, save=save)
        except Exception as error:  # What it has followed so far is of no use: ids would be those of other blocks.
            self._tally.problem(logger, "save", error)
            self._tables.clear()
            return []

    def _drop(self, request_id: str) -> None:
        promise = self._promises.pop(request_id, None)
        if promise:
            release(promise.lease)

    def _expire(self, now: float) -> None:
        """Leases of what nobody asked for again, and of steps that are not reported."""
        for request_id, promise in list(self._promises.items()):
            if now - promise.made_at > _HOLD_FOR:
                self._drop(request_id)
        self._steps.expire(now - _HOLD_FOR)
        self._parked.expire(now - _HOLD_FOR)
