"""The half of the connector in a worker: moves bytes between KV tensors and the cache.

Called by the worker's one thread. Nothing raised here reaches the engine: a load that fails is reported, a block that
cannot be saved is not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1

from ... import _native
from ..groups import Group, Groups, groups_of
from ..home import Home, open_cache
from ..identity import Shard, shard_of
from ..plan import Handshake, Load, Plan, Save
from ..reports import profiling
from ..reports.operations import Operation, Operations
from ..reports.tally import Tally
from ..settings import Settings
from .layouts import KvLayout, Staging, layout_of
from .loading import Loader

logger = logging.getLogger("vllm.reprise")

_TURN = 30.0  # Seconds after which a load that has not begun is given up: its lease does not last for ever.
_MOMENT = 0.002  # Seconds that a step in which nothing is computed waits for what is read beside it.


class WorkerSide:
    """One rank's copies."""

    def __init__(self, config: Any, settings: Settings, kv_cache_config: Any) -> None:
        self._config = config
        self._settings = settings
        self._kv_cache_config = kv_cache_config
        self._shards: tuple[Shard, ...] = (Shard(problem="no KV tensors were registered"),)
        self._rank = 0
        self._groups: list[Group] = []
        self._layouts: list[KvLayout] = []
        self._cache: _native.Cache | None = None
        self._home: Home | None = None
        self._namespaces: dict[str, list[_native.Namespace]] = {}
        self._opening = threading.Lock()  # The loader's thread may be the first.
        self._loader = Loader(lambda load, home: self._load(load, self._open(home)), _TURN)
        self._failed: set[int] = set()
        self._unsaved: set[int] = set()
        self._saved_plan = 0  # Of which they are.
        self._stored = 0  # Tokens since the last report, of all groups together.
        self._step_is_bad = False
        self.tally = Tally()
        self.operations: Operations | None = None

    def register(self, kv_caches: Mapping[str, Any], pp_rank: int, tp_rank: int) -> None:
        """Learns where the KV tensors are. What is wrong with them is told to the scheduler side."""
        self._rank = pp_rank * int(self._config.parallel_config.tensor_parallel_size) + tp_rank
        self._let_go()
        try:
            self._groups = groups_of(self._kv_cache_config)
            _check_supported(self._config, self._groups)
            for group, staging in zip(self._groups, self._staging(), strict=True):
                self._layouts.append(layout_of(kv_caches, group.layers, self._kv_cache_config.num_blocks, staging))
            self._shards = tuple(
                shard_of(self._config, self._settings, group, layout=layout.name,
                         block_bytes=layout.pieces.block_bytes, pp_rank=pp_rank, tp_rank=tp_rank)
                for group, layout in zip(self._groups, self._layouts, strict=True))
            self._namespace("")
        except Exception as error:  # Of whatever kind: the engine runs without the cache.
            self._let_go()
            self._shards = (self._shards[0].broken(f"rank {self._rank}: {error}"),)
            if self._settings.strict:
                raise

    def handshake(self) -> Handshake:
        """What the scheduler side must know of this rank."""
        return Handshake(self._shards)

    def load(self, plan: Plan) -> None:
        """Reads what the step needs. Blocks that failed are in `take_failed`, and the step saves nothing.

        What is parked is begun: `take_finished` tells when it has ended.
        """
        self._step_is_bad = False
        profiling.start(*plan.profiling)
        for layout in self._layouts:
            layout.begin_step()
        answers = True  # One wait that was in vain is enough for a step.
        for load in plan.loads:
            if load.parked:
                self._loader.submit(load, plan.home)
                continue
            began = time.monotonic()
            try:
                good = answers and self._load(load, self._open(plan.home))
            except Exception as error:
                good, answers = False, time.monotonic() - began < self._settings.load_timeout / 2
                self.tally.problem(logger, "load", error)
            self._count(load, good, time.monotonic() - began)
            self._step_is_bad = self._step_is_bad or not good

    def take_finished(self, plan: Plan | None) -> tuple[set[str], set[str]]:
        """Parked requests whose loads ended since the last call, and those of them that did not get their blocks."""
        # A thread that finds nothing to do again and again leaves the one that reads little of the interpreter.
        patience = _MOMENT if plan and plan.idle else 0.0
        finished: set[str] = set()
        failed: set[str] = set()
        for read in self._loader.take(patience):
            finished.add(read.load.request_id)
            if not read.good:
                failed.add(read.load.request_id)
            if read.error:
                self.tally.problem(logger, "load", read.error)
            self._count(read.load, read.good, read.seconds)
        return finished, failed

    def save(self, plan: Plan) -> None:
        """Stores what the step completed, unless something it was computed from failed to load."""
        self._unsaved, self._saved_plan = set(range(len(plan.saves))), plan.number
        if not self._step_is_bad:
            self._save_all(plan)
        self._count_stored()

    def _save_all(self, plan: Plan) -> None:
        patience = self._settings.store_timeout
        for at, save in enumerate(plan.saves):
            began = time.monotonic()
            try:
                room = self._room(save, self._open(plan.home), plan.scope, max(0.0, patience))
                patience -= time.monotonic() - began
                stored, present = self._layouts[save.group].store(room, save.block_ids)
                size = stored * self._shards[save.group].block_bytes
                self.tally.saved(stored, size, time.monotonic() - began)
                self._stored += stored * self._groups[save.group].block_tokens
                if present == len(save.block_ids):
                    self._unsaved.discard(at)
                self._note_save(save, stored, began)
            except Exception as error:
                self.tally.problem(logger, "save", error)
                self._note_save(save, 0, began, "timeout" if isinstance(error, TimeoutError) else "error")
                patience -= time.monotonic() - began
                if patience < 0:
                    break  # Nobody computes meanwhile.
        if plan.saves and plan.settle:
            until = time.monotonic() + self._settings.store_timeout
            for layout in self._layouts:
                layout.settle(until)

    def take_saved(self, plan: Plan) -> tuple[frozenset[int], int]:
        """Indices of the plan's saves of which it is not known that every block is in the cache.

        And how many tokens went there since the last call. vLLM may ask before it lets the plan's saves be made.
        """
        mine = self._saved_plan == plan.number
        unsaved = frozenset(self._unsaved if mine else range(len(plan.saves)))
        stored, self._stored = self._stored, 0
        return unsaved, stored // max(1, len(self._groups))

    def take_failed(self) -> set[int]:
        """Ids of blocks that were not loaded since the last call."""
        failed, self._failed = self._failed, set()
        return failed

    def close(self) -> None:
        """Stores what is under way, and leaves the cache."""
        self._loader.close(self._settings.load_timeout + 5.0)
        self._let_go()
        self._leave()

    def _let_go(self) -> None:
        """Of the KV tensors, and of the memory that they are copied through."""
        for layout in self._layouts:
            layout.close()
        self._layouts = []

    def take_stats(self) -> dict[str, Any]:
        """What is new since the last call, as data of RepriseStats; empty if that is nothing."""
        operations = self.operations.take() if self.operations else []
        return {**self.tally.take(), **({"operations": operations} if operations else {})}

    def _note_load(self, load: Load, good: bool, seconds: float) -> None:
        if self.operations:
            tokens = max((len(p.block_ids) * self._groups[p.group].block_tokens for p in load.pieces), default=0)
            self.operations.add(
                Operation("connector", "recv", load.prefix, tokens, tokens if good else 0, seconds * 1000))

    def _note_save(self, save: Save, stored: int, began: float, failure: str = "") -> None:
        if self.operations and save.group == 0:  # Once, where several groups store their part of the same tokens.
            size, took = self._groups[0].block_tokens, (time.monotonic() - began) * 1000
            before, tokens = save.first * size, len(save.block_ids) * size
            self.operations.add(Operation("cachemgr", "put", before, tokens, -1, took, failure),
                                Operation("connector", "send", before, tokens, stored * size, took))

    def _staging(self) -> list[Staging]:
        """By group. A step ends at most as many blocks as fit into its tokens, and one more of each request."""
        step = self._config.scheduler_config
        saves = self._config.kv_transfer_config.kv_role != "kv_consumer"
        pinned = self._settings.pinned_bytes() // len(self._groups) if saves else 0
        return [Staging(pinned, int(step.max_num_batched_tokens) // group.block_tokens + int(step.max_num_seqs))
                for group in self._groups]

    def _count_stored(self) -> None:
        """What was stored since the last step, where that takes longer than a step."""
        for layout, shard, group in zip(self._layouts, self._shards, self._groups, strict=False):
            stored = layout.stored()
            if stored:
                self.tally.saved(stored.blocks, stored.blocks * shard.block_bytes, stored.seconds)
                self._stored += stored.blocks * group.block_tokens
                for problem in stored.problems:
                    self.tally.problem(logger, "save", problem)

    def _count(self, load: Load, good: bool, seconds: float) -> None:
        self._note_load(load, good, seconds)
        if good:
            size = sum(len(piece.block_ids) * self._shards[piece.group].block_bytes for piece in load.pieces)
            self.tally.loaded(load.blocks, size, seconds)
            return
        self.tally.failed(load.blocks)
        if Groups(self._groups).partial:  # Otherwise vLLM is told of the request alone, and begins it anew.
            self._failed.update(*(piece.block_ids for piece in load.pieces))

    def _load(self, load: Load, cache: _native.Cache) -> bool:
        if not load.token:
            return False
        with profiling.span("load"), cache.attach(load.token) as lease:
            share = self._rank * load.leased
            return all(self._layouts[piece.group].pieces.scatter_from(lease, share + piece.first, piece.block_ids)
                       for piece in load.pieces)

    def _room(self, save: Save, cache: _native.Cache, scope: str, patience: float) -> _native.Reservation:
        # Blocks before a window may be gone: what is stored then need not begin at the front.
        rule = _native.MatchRule.last(1) if self._groups[save.group].window else None
        chain = _native.Chain(self._namespace(scope)[save.group], save.keys, rule=rule)
        return cache.reserve(chain, start=save.first, timeout=patience)

    def _open(self, home: Home | None) -> _native.Cache:
        # Not earlier: the scheduler side, which starts the server, comes after the workers.
        with self._opening:
            if self._cache is None or home != self._home:
                if home is None:
                    raise ValueError("the scheduler side has no cache")
                self._leave()
                self._cache, self._home = open_cache(home, self._settings.load_timeout), home
                logger.info("Reprise: rank %d uses %s", self._rank, home.url)
            return self._cache

    def _leave(self) -> None:
        if self._cache:
            self._cache.close()
            self._cache = None

    def _namespace(self, scope: str) -> list[_native.Namespace]:
        if scope not in self._namespaces:
            self._namespaces = {scope: [shard.namespace(scope) for shard in self._shards]}
        return self._namespaces[scope]


def _check_supported(config: Any, groups: list[Group]) -> None:
    """ValueError for what would store KV that its hashes do not determine, or whose failures cannot be told."""
    if not Groups(groups).partial and not hasattr(KVConnectorBase_V1, "get_transfer_results"):
        raise ValueError("this vLLM cannot be told that a load of several KV groups or of a window failed"
                         "; --disable-hybrid-kv-cache-manager makes it one group of full attention")
    if getattr(config.cache_config, "calculate_kv_scales", False):
        raise ValueError("calculate_kv_scales: the scales of the KV depend on what this engine saw first")
    parallel = config.parallel_config
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(parallel, name, 1) > 1:
            raise ValueError(f"{name} is {getattr(parallel, name)}: blocks that are spread over ranks are not cached")
