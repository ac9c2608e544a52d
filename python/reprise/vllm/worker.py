"""The half of the connector in a worker: moves bytes between KV tensors and the cache.

Called by the worker's one thread. Nothing raised here reaches the engine: a load that fails is reported, a block that
cannot be saved is not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from .. import _native
from .home import Home, open_cache
from .identity import Shard, shard_of
from .layouts import KvLayout, layout_of
from .plan import Handshake, Load, Plan, Save
from .settings import Settings
from .tally import Tally

logger = logging.getLogger("vllm.reprise")


class WorkerSide:
    """One rank's copies."""

    def __init__(self, config: Any, settings: Settings, kv_cache_config: Any) -> None:
        self._config = config
        self._settings = settings
        self._kv_cache_config = kv_cache_config
        self._shard = Shard(problem="no KV tensors were registered")
        self._rank = 0
        self._layout: KvLayout | None = None
        self._cache: _native.Cache | None = None
        self._home: Home | None = None
        self._namespaces: dict[str, _native.Namespace] = {}
        self._failed: set[int] = set()
        self._unsaved: set[int] = set()
        self._step_is_bad = False
        self.tally = Tally()

    def register(self, kv_caches: Mapping[str, Any], pp_rank: int, tp_rank: int) -> None:
        """Learns where the KV tensors are. What is wrong with them is told to the scheduler side."""
        self._rank = pp_rank * int(self._config.parallel_config.tensor_parallel_size) + tp_rank
        try:
            groups = self._kv_cache_config.kv_cache_groups
            _check_supported(self._config, groups)
            names = list(groups[0].layer_names)
            layout = layout_of(kv_caches, names, self._kv_cache_config.num_blocks)
            self._layout = layout
            self._shard = shard_of(
                self._config, self._settings, layout=layout.name, block_bytes=layout.pieces.block_bytes,
                layer_names=names, block_tokens=groups[0].kv_cache_spec.block_size, pp_rank=pp_rank, tp_rank=tp_rank)
            self._shard.namespace()
        except Exception as error:  # Of whatever kind: the engine runs without the cache.
            self._shard = self._shard.broken(f"rank {self._rank}: {error}")
            if self._settings.strict:
                raise

    def handshake(self) -> Handshake:
        """What the scheduler side must know of this rank."""
        return Handshake(self._shard)

    def load(self, plan: Plan) -> None:
        """Reads what the step needs. Blocks that failed are in `take_failed`, and the step saves nothing."""
        self._step_is_bad = False
        for load in plan.loads:
            began = time.monotonic()
            try:
                good = self._load(load, self._open(plan.home))
            except Exception as error:
                good = False
                self.tally.problem(logger, "load", error)
            if good:
                self.tally.loaded(len(load.block_ids), self._shard, time.monotonic() - began)
            else:
                self._failed.update(load.block_ids)
                self._step_is_bad = True
                self.tally.failed(len(load.block_ids))

    def save(self, plan: Plan) -> None:
        """Stores what the step completed, unless something it was computed from failed to load."""
        self._unsaved = set(range(len(plan.saves)))
        if self._step_is_bad:
            return
        for at, save in enumerate(plan.saves):
            began = time.monotonic()
            try:
                stored, present = self._save(save, self._open(plan.home), plan.scope)
                self.tally.saved(stored, self._shard, time.monotonic() - began)
                if present == len(save.block_ids):
                    self._unsaved.discard(at)
            except Exception as error:
                self.tally.problem(logger, "save", error)

    def take_unsaved(self) -> frozenset[int]:
        """Indices of the last plan's saves of which not every block is in the cache."""
        unsaved, self._unsaved = frozenset(self._unsaved), set()
        return unsaved

    def take_failed(self) -> set[int]:
        """Ids of blocks that were not loaded since the last call."""
        failed, self._failed = self._failed, set()
        return failed

    def close(self) -> None:
        """Leaves the cache."""
        if self._cache:
            self._cache.close()
            self._cache = None

    def _load(self, load: Load, cache: _native.Cache) -> bool:
        if self._layout is None:
            return False
        with cache.attach(load.token) as lease:
            return self._layout.pieces.scatter_from(lease, self._rank * load.leased, load.block_ids)

    def _save(self, save: Save, cache: _native.Cache, scope: str) -> tuple[int, int]:
        """Blocks that were copied, and those that the cache has now."""
        if self._layout is None:
            return 0, 0
        chain = _native.Chain(self._namespace(scope), save.keys)
        with cache.reserve(chain, start=save.first, timeout=self._settings.store_timeout) as room:
            filled = self._layout.pieces.gather_into(room, 0, save.block_ids)
            return filled, room.commit()

    def _open(self, home: Home | None) -> _native.Cache:
        # Not earlier: the scheduler side, which starts the server, comes after the workers.
        if self._cache is None or home != self._home:
            if home is None:
                raise ValueError("the scheduler side has no cache")
            self.close()
            self._cache, self._home = open_cache(home, self._settings.load_timeout), home
            logger.info("Reprise: rank %d attached to %s", self._rank, home.url)
        return self._cache

    def _namespace(self, scope: str) -> _native.Namespace:
        if scope not in self._namespaces:
            self._namespaces = {scope: self._shard.namespace(scope)}
        return self._namespaces[scope]


def _check_supported(config: Any, groups: Any) -> None:
    """ValueError for what would store KV that its hashes do not determine, or that is not understood."""
    if len(groups) != 1:
        raise ValueError(f"{len(groups)} KV groups: only models of one can be cached in this version")
    spec = groups[0].kv_cache_spec
    for one in getattr(spec, "kv_cache_specs", {"": spec}).values():
        if type(one).__name__ not in ("FullAttentionSpec", "MLAAttentionSpec"):
            raise ValueError(f"{type(one).__name__}: only KV of full attention can be cached in this version")
    if getattr(groups[0], "is_eagle_group", False):
        raise ValueError("KV of a draft model depends on the token behind a block: it cannot be cached")
    if getattr(config.cache_config, "calculate_kv_scales", False):
        raise ValueError("calculate_kv_scales: the scales of the KV depend on what this engine saw first")
    parallel = config.parallel_config
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(parallel, name, 1) > 1:
            raise ValueError(f"{name} is {getattr(parallel, name)}: blocks that are spread over ranks are not cached")
