"""vLLM's connector calls, handed to the half that serves them."""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorRole, SupportsHMA

from .. import _native
from .._errors import ConfigError
from . import memory, multi
from .groups import Group, Groups, groups_of
from .home import PrivateServer, home_of, open_cache, reachable
from .plan import Done, Handshake, Plan
from .reports import profiling
from .reports.events import events_for
from .reports.levels import Levels
from .reports.operations import Operations
from .reports.sources import hit_sources
from .reports.tally import Tally
from .scheduler.flush import Flusher
from .scheduler.lookup import Lookup
from .scheduler.ranks import shards_in_order
from .scheduler.side import SchedulerSide
from .scheduler.tables import BlockTables
from .settings import Settings
from .worker.side import WorkerSide

logger = logging.getLogger("vllm.reprise")


class RepriseConnector(KVConnectorBase_V1, SupportsHMA):
    """Keeps the KV of prompts in Reprise and gives it back; docs/vllm.md has its settings."""

    _counts_operations = False  # For the metrics of the drop-in.

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any = None) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        transfer = vllm_config.kv_transfer_config
        self._settings, scope = self._read_settings(vllm_config, role)
        # Of this process alone: replicas of one engine may have one id.
        # And of this host: containers may share a folder and number their processes alike. Nobody can guess it.
        self._engine_id = f"{transfer.engine_id}:{os.getpid()}:{secrets.token_hex(16)}"
        self._server: PrivateServer | None = None
        self._scheduler: SchedulerSide | None = None
        self._worker: WorkerSide | None = None
        self._failed_parked: set[str] = set()  # Of this step.
        self._flusher: Flusher | None = None
        if role == KVConnectorRole.WORKER:
            self._worker = WorkerSide(vllm_config, self._settings, kv_cache_config)
            self._worker.operations = Operations() if self._counts_operations else None
            return
        # vLLM reads it after this: a block that does not come is computed, whatever the default is.
        transfer.kv_load_failure_policy = "recompute"
        self._look_around()
        settings = self._settings
        if not settings.cache_url:
            memory.check(settings.options["l1.capacity"], memory.available())
        cache = self._come_home(self._engine_id)
        saves = transfer.kv_role != "kv_consumer"
        self._flusher = Flusher(cache, settings.flush_timeout) if cache and saves else None
        lookup = Lookup(cache, settings.lookup_timeout, settings.fetch_timeout, Tally()) if cache else None
        groups = _groups(vllm_config, kv_cache_config)
        tables = _tables(vllm_config, kv_cache_config, groups, settings)
        self._scheduler = SchedulerSide(
            settings, lookup, home_of(settings, self._engine_id), Groups(groups), tables, scope=scope,
            overlapping=getattr(vllm_config, "max_concurrent_batches", 2) > 1, saves=saves,
            park_above=_park_above(vllm_config, settings))
        self._scheduler.beside_others = multi.inside()
        self._scheduler.settles = self._flusher is not None and self._may_flush()
        reports = self._scheduler.reports
        if cache and lookup:
            reports.levels = Levels(cache, lookup.sources.set_slow_tier)
            reports.events = events_for(vllm_config, kv_cache_config, tables.hash_tokens, settings.event_checks,
                                        self._scheduler.there)
        if self._counts_operations:
            reports.operations = Operations()
        profiling.start(settings.profiling_server, scope or "reprise")

    def _look_around(self) -> None:
        problem = multi.problem()
        if problem and self._settings.strict:
            raise ConfigError(problem)
        if problem:
            logger.error("Reprise: %s", problem)

    @property
    def requires_kv_delivery(self) -> bool:
        """A cache: nobody waits for what is saved."""
        return False

    @classmethod
    def requires_piecewise_for_cudagraph(cls, extra_config: dict[str, Any]) -> bool:
        """Nothing is done layer by layer: graphs may be whole."""
        return False

    def _read_settings(self, vllm_config: Any, role: KVConnectorRole) -> tuple[Settings, str]:
        """And the scope of its blocks, which the scheduler side decides alone."""
        return Settings.read(vllm_config.kv_transfer_config.kv_connector_extra_config or {}), ""

    def _come_home(self, engine_id: str) -> _native.Cache | None:
        settings = self._settings
        try:
            if not settings.cache_url:
                self._server = PrivateServer(settings, engine_id)
                if not self._server.wait_ready(settings.start_timeout):
                    if self._server.failed:
                        raise ConfigError("the private server refuses to start: "
                                          + (self._server.refusal or "it has said on stderr what to change"))
                    raise TimeoutError(f"the private server was not ready within {settings.start_timeout} s: "
                                       "it may have said why on stderr; start_timeout sets how long to wait")
            home = home_of(settings, engine_id)
            cache = open_cache(home, settings.load_timeout)
            if reachable(cache):
                logger.info("Reprise: the scheduler attached to %s%s", home.url,
                            f", a private server: {settings.summary()}" if self._server else "")
            elif settings.strict:
                raise ConnectionError(f"nobody answers at {home.url}: start `reprise serve --listen-unix "
                                      f"{home.url.removeprefix('unix://')}`, or correct cache_url")
            else:
                logger.error("Reprise: nobody answers at %s: no hits until a daemon is there. Start `reprise serve "
                             "--listen-unix %s`, or correct cache_url", home.url, home.url.removeprefix("unix://"))
            return cache
        except Exception as error:
            misspelt = self._server is not None and self._server.misspelt
            self._stop_server()
            if settings.strict or misspelt:
                raise
            logger.error("Reprise: this engine runs without the cache: %s", error)
            return None

    def _stop_server(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    # --- worker ---

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        """The KV tensors of this rank."""
        if self._worker:
            from vllm.distributed.parallel_state import get_pp_group, get_tp_group

            self._worker.register(kv_caches, get_pp_group().rank_in_group, get_tp_group().rank_in_group)

    def get_handshake_metadata(self) -> Handshake | None:
        """What this rank holds, for the scheduler side."""
        return self._worker.handshake() if self._worker else None

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Reads what the step needs before it runs."""
        plan = self._plan()
        if self._worker and plan:
            self._worker.load(plan)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing: all layers were read before."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        """Nothing: blocks are saved whole."""

    def wait_for_save(self) -> None:
        """Stores what the step has completed."""
        plan = self._plan()
        if self._worker and plan:
            with profiling.span("save"):
                self._worker.save(plan)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        """Parked requests of which this rank has ended the load, one way or the other."""
        if self._worker is None:
            return None, None
        finished, failed = self._worker.take_finished(self._plan())
        self._failed_parked |= failed
        return None, finished or None

    def get_transfer_results(self, finished_req_ids: set[str]) -> Any:
        """The same, and which of them failed."""
        results = super().get_transfer_results(finished_req_ids)
        results.failed_recving = set(self._failed_parked)
        return results

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks that vLLM has to compute after all."""
        return self._worker.take_failed() if self._worker else set()

    def get_kv_connector_stats(self) -> Any:
        """What this side counted since the last call."""
        side = self._worker or (self._scheduler and self._scheduler.reports)
        counted = side.take_stats() if side else {}
        if not counted:
            return None
        from .reports.stats import RepriseStats

        return RepriseStats(data=counted)

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> Any:
        """For vLLM's log, of counts that came here as plain data."""
        from .reports.stats import RepriseStats

        return RepriseStats.sums(data or {})

    def get_external_cache_hit_sources(self, request: Any, num_external_tokens: int) -> dict[Any, int]:
        """Which tier the tokens of a request come from that was allocated just now."""
        if self._scheduler is None:
            return {}
        return hit_sources(*self._scheduler.reports.hit(request.request_id, num_external_tokens))

    @classmethod
    def build_prom_metrics(cls, vllm_config: Any, metric_types: Any, labelnames: list[str],
                           per_engine_labelvalues: dict[int, list[object]]) -> Any:
        """They are on vLLM's /metrics."""
        from .reports.stats import RepriseMetrics

        return RepriseMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    def build_connector_worker_meta(self) -> Done | None:
        """Which step this worker has finished."""
        plan = self._plan()
        failed, self._failed_parked = frozenset(self._failed_parked), set()
        return Done(plan.number, failed, *self._worker.take_saved(plan)) if self._worker and plan else None

    def shutdown(self) -> None:
        """Leaves the cache, and ends the private server."""
        if self._worker:
            self._worker.close()
        if self._scheduler:
            self._scheduler.close()
        self._stop_server()

    def _plan(self) -> Plan | None:
        plan = self._connector_metadata
        return plan if isinstance(plan, Plan) else None

    # --- scheduler ---

    def set_xfer_handshake_metadata_pp_aware(self, metadata: Mapping[tuple[int, int], Any]) -> None:
        """What the ranks hold, by (pipeline rank, tensor rank)."""
        if self._scheduler is None:
            return
        parallel = self._vllm_config.parallel_config
        problem = self._scheduler.set_shards(shards_in_order(metadata), parallel.world_size)
        if not problem:
            return
        self._scheduler.close()
        self._flusher = None
        self._stop_server()
        if self._settings.strict:
            raise ValueError(problem)
        logger.error("Reprise: this engine runs without the cache: %s", problem)

    def set_xfer_handshake_metadata(self, metadata: Mapping[int, Any]) -> None:
        """The same without pipeline ranks."""
        self.set_xfer_handshake_metadata_pp_aware({(0, rank): told for rank, told in metadata.items()})

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """Tokens that come from the cache, and whether the request is to be parked while they are read."""
        if self._scheduler is None:
            return 0, False
        tokens = self._scheduler.promise(request, num_computed_tokens)
        return tokens, bool(tokens) and self._scheduler.parks(request.request_id)

    def bind_kv_cache_manager(self, kv_cache_manager: Any) -> None:
        """vLLM's own prefix cache, which is not to keep what was computed on a load that failed."""
        super().bind_kv_cache_manager(kv_cache_manager)
        if self._scheduler:
            self._scheduler.evict = kv_cache_manager.evict_blocks

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """The request has its blocks."""
        if self._scheduler:
            self._scheduler.allocated(request, blocks.get_block_ids(), num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> Plan:
        """The step's plan for the workers."""
        if self._scheduler is None:
            return Plan()
        with profiling.span("plan"):
            return self._scheduler.plan(scheduler_output)

    def update_connector_output(self, connector_output: Any) -> None:
        """What became of a step."""
        done = connector_output.kv_connector_worker_meta
        if self._scheduler is None:
            return
        failed = done.failed if isinstance(done, Done) else frozenset()
        self._scheduler.arrived(connector_output.finished_recving or (), failed)
        if isinstance(done, Done):
            self._scheduler.outcome(done.number, connector_output.invalid_block_ids or (), done.unsaved, done.stored)

    def take_events(self) -> Iterable[Any]:
        """What routers are to know of the blocks in the cache."""
        events = self._scheduler.reports.events if self._scheduler else None
        return events.take() if events else ()

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """The request is over; its blocks may go at once."""
        if self._scheduler:
            self._scheduler.finished(request.request_id)
        if self._flusher and self._must_flush(request):
            self._flusher.flush()
        return False, None

    def request_finished_all_groups(self, request: Any, block_ids: tuple[list[int], ...]
                                    ) -> tuple[bool, dict[str, Any] | None]:
        """The same, where there may be several KV groups."""
        return self.request_finished(request, list(block_ids[0]) if block_ids else [])

    def _may_flush(self) -> bool:
        """Whether there are requests of which _must_flush is true."""
        return self._settings.flush_finished

    def _must_flush(self, request: Any) -> bool:
        """Whether somebody relies on what it stored as soon as it is over."""
        return self._settings.flush_finished

    def reset_cache(self) -> bool | None:
        """From now on nothing stored before is found."""
        manager = getattr(self, "_kv_cache_manager", None)
        kept = bool(getattr(manager, "usage", 0.0))  # Blocks are in use: vLLM has not emptied its own.
        return self._scheduler.reset(kept) if self._scheduler else True


def _park_above(config: Any, settings: Settings) -> int | None:
    """Always, where others may have computed on a load within a step before it is known that it failed.

    So it is where the next step is planned before that (on devices, and with pipeline stages): vLLM takes what it
    answers as good. And in versions whose prefix cache cannot be told to forget. Blocks that come beside the steps are
    shared only once they are there.
    """
    above = settings.async_bytes()
    if getattr(config, "max_concurrent_batches", 2) == 1 and hasattr(KVConnectorBase_V1, "bind_kv_cache_manager"):
        return above
    if above is None:
        logger.warning("Reprise: async_load_above is 'never', but where steps overlap a load that fails would be seen "
                       "by requests that have computed on its blocks: all loads are asynchronous")
    return 0


def _groups(config: Any, kv_cache_config: Any) -> list[Group]:
    """The KV groups; where they cannot be cached, which the workers tell, one that stands for them."""
    block = int(config.cache_config.block_size)
    try:
        groups = groups_of(kv_cache_config)
    except Exception as error:
        logger.debug("Reprise: %s", error)
        groups = []
    return groups or [Group((), "FullAttentionSpec", block)]


def _tables(config: Any, kv_cache_config: Any, groups: list[Group], settings: Settings) -> BlockTables:
    cache = config.cache_config
    told = getattr(kv_cache_config, "hash_block_size", None) or getattr(cache, "hash_block_size", None)
    unit = int(told or math.gcd(*(group.block_tokens for group in groups)))
    return BlockTables(groups, unit, str(cache.prefix_caching_hash_algo), trust=settings.trust_hashes,
                       decode=settings.store_decode)
