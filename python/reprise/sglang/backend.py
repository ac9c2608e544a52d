"""The class SGLang makes: its calls, handed to a PageStore for each host pool."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from sglang.srt.mem_cache.hicache_storage import HiCacheStorage, HiCacheStorageConfig, PoolHitPolicy, PoolTransferResult

import reprise

from .home import Home
from .host_pool import HostPool
from .identity import namespace_of
from .pages import PageStore
from .report import Report
from .settings import read_settings

LOG = logging.getLogger("reprise.sglang")

KV = "kv"


def _answers(fallback: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Nothing a call raises reaches SGLang: `fallback`, of the same arguments, is the answer instead."""
    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(self: "RepriseHiCache", *args: Any, **kwargs: Any) -> Any:
            try:
                return call(self, *args, **kwargs)
            except Exception as error:
                self._report.failed(call.__name__, error)
                return fallback(*args, **kwargs)
        return guarded
    return wrap


def _no_pages(keys: Sequence[str], *_: Any, **__: Any) -> list[bool]:
    return [False] * len(keys)


def _no_transfers(transfers: Sequence[Any], *_: Any, **__: Any) -> dict[str, list[bool]]:
    return {transfer.name: [False] * len(transfer.keys or []) for transfer in transfers}


class RepriseHiCache(HiCacheStorage):
    """Pages of SGLang's host pools in a Reprise cache. SGLang's threads may call anything at once.

    Answers have one entry for each key that was asked for; entries behind a page that is missing are False. Settings
    are read from `storage_config.extra_config` (docs/sglang.md); only the constructor raises, and only for settings
    that cannot work or, with `strict`, for a cache that cannot be used.
    """

    def __init__(self, storage_config: HiCacheStorageConfig, kwargs: Any = None) -> None:
        self._config = storage_config
        rank = (f"tp{storage_config.tp_rank}-pp{storage_config.pp_rank}-cp{storage_config.attn_cp_rank}"
                f"-dp{getattr(storage_config, 'dp_rank', 0)}")
        self._settings = read_settings(storage_config.extra_config).of_rank(rank)
        self._report = Report(f"{storage_config.model_name} {rank}")
        self._mutex = threading.Lock()
        self._pools: dict[str, HostPool] = {}
        self._stores: dict[tuple[str, str, int], PageStore] = {}
        self._in_place = bool((storage_config.extra_config or {}).get("interface_v1", 0))
        self._home = Home(self._settings)

    # --- pools ---

    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """The pool that batch_get_v1 and batch_set_v1 move pages of."""
        self.mem_pool_host = mem_pool_host
        self._register(KV, mem_pool_host)

    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: Any) -> None:
        """One more pool, by name, for the calls of version 2."""
        self._register(str(host_pool_name), host_pool)

    def _register(self, name: str, pool: Any) -> None:
        known = HostPool(pool, self._settings.threads)
        if self._in_place and not known.is_logical:
            try:
                known.page_bytes()
            except Exception as error:  # Pools say in ways of their own what they do not offer.
                LOG.error("pages of the pool '%s' (%s, layout %s) cannot be kept: %s", name, type(pool).__name__,
                          getattr(pool, "layout", "none"), error)
        with self._mutex:
            self._pools[name] = known
            for key in [key for key in self._stores if key[0] == name]:
                del self._stores[key]

    def _store(self, name: str, interface: str, page_bytes: int) -> PageStore | None:
        """Pages of that pool and size in the cache; None while there is no cache."""
        cache = self._home.cache()
        if cache is None:
            return None
        key = (name, interface, page_bytes)
        with self._mutex:
            store = self._stores.get(key)
            if store is None:
                ns = namespace_of(self._pools[name].pool, self._config, self._settings, block_bytes=page_bytes,
                                  interface=interface, pool_name=name)
                store = self._stores[key] = PageStore(cache, ns, self._settings)
            return store

    def _own(self, name: str, page_bytes: int | None = None) -> PageStore | None:
        """The same, in the order of bytes of the calls that move pages in place."""
        pool = self._pools[name]
        return self._store(name, pool.interface, pool.page_bytes() if page_bytes is None else page_bytes)

    # --- pages in place ---

    @_answers(_no_pages)
    def batch_get_v1(self, keys: list[str], host_indices: torch.Tensor, extra_info: Any = None) -> list[bool]:
        return [True] * len(keys) if self._pools[KV].is_logical else self._load(KV, keys, host_indices)

    @_answers(_no_pages)
    def batch_set_v1(self, keys: list[str], host_indices: torch.Tensor, extra_info: Any = None) -> list[bool]:
        return [True] * len(keys) if self._pools[KV].is_logical else self._save(KV, keys, host_indices)

    def _load(self, name: str, keys: Sequence[str], host_indices: Any) -> list[bool]:
        if not keys:
            return []
        began = time.monotonic()
        pages = self._pools[name].pages(len(keys), host_indices)
        store = self._own(name, pages.page_bytes)
        count = store.load(keys, pages) if store is not None else 0
        self._report.moved("loaded", len(keys), count, pages.page_bytes, time.monotonic() - began)
        return [True] * count + [False] * (len(keys) - count)

    def _save(self, name: str, keys: Sequence[str], host_indices: Any) -> list[bool]:
        if not keys:
            return []
        began = time.monotonic()
        pages = self._pools[name].pages(len(keys), host_indices)
        store = self._own(name, pages.page_bytes)
        done = store.save(keys, pages) if store is not None else [False] * len(keys)
        self._report.moved("stored", len(keys), sum(done), pages.page_bytes, time.monotonic() - began)
        return done

    # --- pages as tensors ---

    @_answers(lambda *_, **__: None)
    def get(self, key: str, target_location: torch.Tensor | None = None, target_sizes: Any = None) -> Any:
        return self.batch_get([key], [target_location])[0]

    @_answers(lambda keys, *_, **__: [None] * len(keys))
    def batch_get(self, keys: list[str], target_locations: Any = None, target_sizes: Any = None) -> list[Any]:
        """Fills the tensors of `target_locations`, one page each; None from the first page on that is missing."""
        if not keys:
            return []
        targets = list(target_locations or [])
        if len(targets) != len(keys) or any(target is None for target in targets):
            raise ValueError(f"{len(keys)} keys need as many tensors to be filled")
        store, parts, began = self._flat(targets), [_bytes_of(target) for target in targets], time.monotonic()
        count = store.fetch(keys, parts) if store is not None else 0
        self._report.moved("loaded", len(keys), count, targets[0].nbytes, time.monotonic() - began)
        return targets[:count] + [None] * (len(keys) - count)

    @_answers(lambda *_, **__: False)
    def set(self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None) -> bool:
        return bool(self.batch_set([key], [value]))

    @_answers(lambda *_, **__: False)
    def batch_set(self, keys: list[str], values: Any = None, target_locations: Any = None,
                  target_sizes: Any = None) -> bool:
        """Stores one tensor a page; True if all of them are in the cache now."""
        if not keys:
            return True
        if values is None or len(values) != len(keys):
            raise ValueError(f"{len(keys)} keys need as many tensors")
        store, parts, began = self._flat(values), [_bytes_of(value.contiguous()) for value in values], time.monotonic()
        done = store.offer(keys, parts) if store is not None else 0
        self._report.moved("stored", len(keys), done, values[0].nbytes, time.monotonic() - began)
        return done == len(keys)

    def _flat(self, tensors: Sequence[torch.Tensor]) -> PageStore | None:
        if any(tensor.nbytes != tensors[0].nbytes for tensor in tensors):
            raise ValueError("pages of different sizes")
        return self._store(KV, "flat", tensors[0].nbytes)

    # --- what is there ---

    @_answers(lambda *_, **__: False)
    def exists(self, key: str) -> bool:
        return bool(self.batch_exists([key]) == 1)

    @_answers(lambda *_, **__: 0)
    def batch_exists(self, keys: list[str], extra_info: Any = None) -> int:
        """How many of the first pages are there without a gap."""
        if not keys:
            return 0
        store = self._queried()
        found = store.leading(keys) if store is not None else 0
        self._report.asked(len(keys), found)
        return found

    def _queried(self) -> PageStore | None:
        """Where the pages of the interface lie that SGLang was told to use."""
        if self._in_place:
            return self._own(KV)
        return self._store(KV, "flat", self._pools[KV].flat_bytes())

    # --- several pools ---

    @_answers(lambda *_, **__: PoolTransferResult.empty())
    def batch_exists_v2(self, keys: list[str], pool_transfers: Any = None, extra_info: Any = None) -> Any:
        """The longest run of pages that every pool can serve, by its own policy."""
        pages = len(keys) if self._pools[KV].is_logical else self.batch_exists(keys)
        hits: dict[Any, int] = {KV: pages} if pages else {}
        usable = set(range(1, pages + 1))
        for transfer in pool_transfers or []:
            if not usable:
                break
            fit = self._serves(transfer, keys[:pages])
            if fit:
                hits[transfer.name] = max(fit)
            usable &= fit
        return PoolTransferResult(max(usable, default=0), hits, sorted(usable))

    def _serves(self, transfer: Any, keys: Sequence[str]) -> AbstractSet[int]:
        """The lengths of runs that one more pool can serve."""
        name = str(transfer.name)
        store = self._own(name)
        if store is None:
            return set()
        if transfer.hit_policy == PoolHitPolicy.ALL_PAGES:
            return set(range(1, store.leading(keys) + 1))
        if transfer.hit_policy == PoolHitPolicy.TRAILING_PAGES:
            window, there = max(1, len(transfer.keys or [])), store.present(keys)
            return {end for end in range(1, len(keys) + 1) if all(there[max(0, end - window):end])}
        raise ValueError(f"unknown policy {transfer.hit_policy}")

    @_answers(_no_transfers)
    def batch_get_v2(self, transfers: list[Any], extra_info: Any = None) -> dict[str, list[bool]]:
        return {transfer.name: self._one(self._load, transfer) for transfer in transfers}

    @_answers(_no_transfers)
    def batch_set_v2(self, transfers: list[Any], extra_info: Any = None) -> dict[str, list[bool]]:
        return {transfer.name: self._one(self._save, transfer) for transfer in transfers}

    def _one(self, move: Callable[..., list[bool]], transfer: Any) -> list[bool]:
        keys = list(transfer.keys or [])
        try:
            return move(str(transfer.name), keys, transfer.host_indices)
        except Exception as error:
            self._report.failed(f"pool {transfer.name}", error)
            return [False] * len(keys)

    # --- the rest ---

    def clear(self) -> bool:
        """False: a cache that others share is not emptied from one engine (docs/sglang.md)."""
        return False

    def get_stats(self) -> Any:
        """SGLang's StorageMetrics since the last call, where it asked for them."""
        if not self._config.enable_storage_metrics:
            return None
        from sglang.srt.observability.metrics_collector import StorageMetrics
        loaded, stored = self._report.transfers("loaded"), self._report.transfers("stored")
        return StorageMetrics(prefetch_pgs=[pages for pages, _ in loaded], backup_pgs=[pages for pages, _ in stored],
                              prefetch_bandwidth=[rate for _, rate in loaded],
                              backup_bandwidth=[rate for _, rate in stored])

    def counts(self) -> dict[str, int]:
        """Pages asked, found, loaded, stored, missed, not_stored; calls that failed. Since the start."""
        return self._report.counts()

    def stats(self) -> reprise.CacheStats | None:
        """Counters of the cache; None while there is none."""
        cache = self._home.cache()
        return cache.stats() if cache is not None else None

    def close(self) -> None:
        """Gives the cache back. Calls find nothing from then on."""
        with self._mutex:
            self._stores.clear()
        self._home.close()


def _bytes_of(tensor: torch.Tensor) -> Any:
    return tensor.view(-1).view(torch.uint8).numpy()
