"""The manager of one process: arguments, alignment, limits and statuses, over `tiers`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import reprise
from reprise import Reason

from . import envs, profiling
from .block_keys import Tokens
from .cache_args import parse_kvcache_api_args
from .cache_handle import GDRKVCacheHandle, KVCacheHandle, MemoryRegionKVCacheHandle
from .cache_hashable import BlockHashes
from .chains import Blocks, ChainBuilder
from .chunks import chunk_keys
from .common.absl_logging import getLogger
from .config import KVCacheConfig
from .kvcache_manager import KVCacheFeature, KVCacheManager
from .limits import chunk_size, max_seq_len
from .memory import MemoryRegion
from .metrics import KVCacheMetrics, MetricRecorder
from .namespaces import key_scheme, namespace_of
from .observation import OP, observe
from .spec import KVCacheBlockSpec
from .status import Status, StatusCodes
from .tiers import Answer, Tiers
from .tiers.footer import TokenFooter
from .tiers.open import open_tiers
from .tiers.settings import seconds_per_block

logger = getLogger(__name__)

_NO_BLOCKS = Answer(0, 0, 0, Reason.MISS)

_CODES = {
    Reason.TIMEOUT: StatusCodes.TIMEOUT,
    Reason.UNAVAILABLE: StatusCodes.ERROR,
    Reason.FULL: StatusCodes.OUT_OF_MEMORY,
    Reason.BUSY: StatusCodes.DENIED,
    Reason.DECLINED: StatusCodes.DENIED,
}
# Errors that become a status. BufferError: a lease that ran out, as after the process was stopped for long.
_ANSWERED = (reprise.Error, ValueError, RuntimeError, BufferError)
_ERROR_CODES = {
    reprise.ErrorCode.INVALID: StatusCodes.INVALID,
    reprise.ErrorCode.DENIED: StatusCodes.DENIED,
}


class BaseKVCacheManager(KVCacheManager):
    """A manager that answers for its own process alone.

    Args:
        config: the blocks, the model, and so on. Everything else comes from the environment: see `envs`.
    Raises:
        ValueError: a variable that cannot work, or a backend there is none of.
        AssertionError: neither L1 nor L2 is enabled.
        reprise.Error: the cache could not be opened.
    """

    def __init__(self, config: KVCacheConfig) -> None:
        super().__init__(config)
        envs.report(logger)
        validate = envs.AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED
        footer = TokenFooter(self.block_ntokens) if validate else None
        self._validates = validate
        self._chunk_size = chunk_size(self.block_ntokens)
        self._max_seq_len = max_seq_len(self.block_ntokens)
        self._seconds_per_block = seconds_per_block(config)
        self._flush_timeout = float(envs.AIBRIX_KV_CACHE_OL_FLUSH_TIMEOUT_S)
        namespace = namespace_of(config, footer.nbytes if footer else 0)
        self._chains = ChainBuilder(self.block_spec, namespace, key_scheme()[0])
        self._tiers: Tiers = open_tiers(config, footer)
        self._metrics = KVCacheMetrics(
            block_ntokens=self.block_ntokens,
            capacity_nbytes=self._tiers.usage()[1],
            enable_l1=self._tiers.has_l1,
            enable_l2=self._tiers.has_l2,
            enable_time_measurement=envs.AIBRIX_KV_CACHE_OL_TIME_MEASUREMENT_ENABLED,
            enable_breakdown_measurement=envs.AIBRIX_KV_CACHE_OL_BREAKDOWN_MEASUREMENT_ENABLED,
        )
        if self._metrics.l1 is not None:
            tiers = self._tiers
            for usage in self._metrics.l1.usages:
                usage.used = lambda: tiers.usage()[0]
        profiling.start()
        logger.info("%r", self)

    @property
    def feature(self) -> KVCacheFeature:
        return KVCacheFeature()

    @property
    def block_size(self) -> int:
        return self.block_ntokens

    @property
    def chunk_size(self) -> int:
        return self._chunk_size

    @property
    def metrics(self) -> KVCacheMetrics:
        return self._metrics

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._tiers.describe()}, chunk {self._chunk_size} tokens, {self.block_spec})"

    # Reads.

    def acquire(self, *args: Any, **kwargs: Any) -> Status[Any]:
        began = time.perf_counter()
        prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)
        handle: MemoryRegionKVCacheHandle | None = None

        def body() -> Answer:
            nonlocal handle
            handle, answer = self._acquire_blocks(self._blocks(prefix, query))
            return answer

        status, answer = self._read(prefix, query, body)
        if handle is not None:
            status = Status.ok((len(handle) * self.block_ntokens, handle))
        self._observe(OP.ACQUIRE, prefix, query, began, status, answer)
        return status

    def get(self, *args: Any, **kwargs: Any) -> Status[Any]:
        began = time.perf_counter()
        prefix, query, into = parse_kvcache_api_args(*args, **kwargs)
        assert isinstance(into, KVCacheHandle), f"get needs a handle to copy into, not {type(into).__name__}"
        assert not isinstance(into, GDRKVCacheHandle), "get cannot copy into the scattered layers of a GDRKVCacheHandle"

        def body() -> Answer:
            return self._copy_blocks(self._blocks(prefix, query, len(into)), into)

        status, answer = self._read(prefix, query, body)
        self._observe(OP.GET, prefix, query, began, status, answer)
        return status

    def exists(self, *args: Any, **kwargs: Any) -> Status[Any]:
        began = time.perf_counter()
        prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)

        def body() -> Answer:
            return self._tiers.exists(self._blocks(prefix, query), self._seconds_per_block)

        status, answer = self._read(prefix, query, body)
        self._observe(OP.EXISTS, prefix, query, began, status, answer)
        return status

    def _read(
        self, prefix: Tokens | None, query: Tokens, body: Callable[[], Answer]
    ) -> tuple[Status[Any], Answer]:
        if misaligned := self._misaligned(prefix):
            return misaligned, _NO_BLOCKS
        if len(query) < self.block_ntokens:
            return Status(StatusCodes.NOT_FOUND), _NO_BLOCKS
        try:
            answer = body()
        except AssertionError:  # A fault of the caller; whatever else goes wrong is no reason for an engine to end.
            raise
        except Exception as error:
            return _failed(error), _NO_BLOCKS
        if answer.blocks > 0:
            return Status.ok(answer.blocks * self.block_ntokens), answer
        if answer.asked_l2 and answer.reason is Reason.TIMEOUT:
            return Status(StatusCodes.TIMEOUT, "L2 did not answer in time, and L1 has nothing"), answer
        if answer.asked_l2 and answer.reason is Reason.UNAVAILABLE:
            return Status(StatusCodes.ERROR, "L2 is not available, and L1 has nothing"), answer
        return Status(StatusCodes.NOT_FOUND), answer

    def _acquire_blocks(self, blocks: Blocks) -> tuple[MemoryRegionKVCacheHandle | None, Answer]:
        return self._tiers.acquire(blocks, self._seconds_per_block)

    def _copy_blocks(self, blocks: Blocks, into: KVCacheHandle) -> Answer:
        # Here and not before: in a group, the other ranks wait for an answer of this one.
        if unusable := _unusable(into, self.block_spec):
            raise ValueError(unusable.value)
        if not into.writable:
            raise ValueError("a handle that acquire answered is the cache's own memory: get cannot copy into it")
        return self._tiers.copy_out(blocks, into.memory_regions, self._seconds_per_block)  # type: ignore[arg-type]

    # Writes.

    def allocate_for(self, *args: Any, **kwargs: Any) -> Status[Any]:
        began = time.perf_counter()
        prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)
        status = self._allocate(prefix, query)
        self._observe(OP.ALLOCATE, prefix, query, began, status, _NO_BLOCKS)
        return status

    def _allocate(self, prefix: Tokens | None, query: Tokens) -> Status[Any]:
        if misaligned := self._misaligned(prefix):
            return misaligned
        if len(query) < self.block_ntokens:
            return Status(StatusCodes.INVALID, f"{len(query)} tokens are less than a block of {self.block_ntokens}")
        try:
            handle, reason = self._tiers.allocate(self._blocks(prefix, query))
        except _ANSWERED as error:
            return _failed(error)
        if handle is None:
            return Status(
                StatusCodes.OUT_OF_MEMORY, f"no block could be made free, or others are storing them: {reason.name}"
            )
        return Status.ok(handle)

    def allocate(self, nblocks: int) -> Status[Any]:
        """Memory for `nblocks` blocks whose tokens are not said yet: `put` copies out of it. See `allocate_for`."""
        capacity = self._tiers.usage()[1] or self.block_nbytes * self._chunk_size // self.block_ntokens
        if nblocks <= 0:
            return Status(StatusCodes.INVALID, f"nblocks is {nblocks}")
        blocks, nbytes = min(nblocks, max(1, capacity // self.block_nbytes)), self.block_nbytes
        memory = torch.empty(blocks * nbytes, dtype=torch.uint8)
        regions = [MemoryRegion(memory, i * nbytes, nbytes) for i in range(blocks)]
        return Status.ok(MemoryRegionKVCacheHandle(self.block_dtype, self.block_shape, regions))

    def put(self, *args: Any, **kwargs: Any) -> Status[Any]:
        began = time.perf_counter()
        prefix, query, handle = parse_kvcache_api_args(*args, **kwargs)
        assert isinstance(handle, KVCacheHandle), f"put needs a handle with the blocks, not {type(handle).__name__}"
        status = self._put(prefix, query, handle)
        self._observe(OP.PUT, prefix, query, began, status, _NO_BLOCKS)
        return status

    def _put(self, prefix: Tokens | None, query: Tokens, handle: KVCacheHandle) -> Status[Any]:
        count = min(len(query) // self.block_ntokens, len(handle))
        refused = self._misaligned(prefix) or _unusable(handle, self.block_spec)
        if refused is None and self._max_seq_len > 0:
            room = self._max_seq_len - (len(prefix) if prefix is not None else 0)
            if room <= 0:
                refused = Status(
                    StatusCodes.DENIED,
                    f"Sequence too long: {len(prefix or ())} tokens of prefix, at most {self._max_seq_len} are kept",
                )
            count = min(count, room // self.block_ntokens)
        if refused is None and count <= 0:
            refused = Status.ok(0)
        if refused is not None:
            if not handle.released:
                handle.release()
            return refused
        try:
            kept, reason = self._tiers.store(self._blocks(prefix, query, count), handle)
        except Exception as error:
            if not handle.released:  # It was ours from the start.
                handle.release()
            if isinstance(error, AssertionError):
                raise
            return _failed(error)
        if kept == 0:
            return Status(_CODES.get(reason, StatusCodes.ERROR), f"no block was kept: {reason.name}")
        return Status.ok(kept * self.block_ntokens)

    # The rest.

    def delete(self, *args: Any, **kwargs: Any) -> Status[Any]:
        prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)
        if misaligned := self._misaligned(prefix):
            return misaligned
        if len(query) < self.block_ntokens:
            return Status.ok()
        try:
            self._tiers.erase(self._blocks(prefix, query), self._flush_timeout)
        except reprise.Error as error:
            return _failed(error)
        return Status.ok()

    def prefetch(self, *args: Any, **kwargs: Any) -> None:
        prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)
        if self._misaligned(prefix) is None and len(query) >= self.block_ntokens:
            try:
                self._tiers.prefetch(self._blocks(prefix, query))
            except _ANSWERED as error:
                logger.debug("prefetch: %s", error)  # There is no answer, and nobody has to prefetch.

    def register_kvcache(self, kvcache: torch.Tensor | list[torch.Tensor]) -> Status[Any]:
        for tensor in [kvcache] if isinstance(kvcache, torch.Tensor) else kvcache:
            if not isinstance(tensor, torch.Tensor):
                return Status(StatusCodes.INVALID, f"a tensor is needed, not {type(tensor).__name__}")
        return Status.ok()  # No backend here reaches into an engine's memory.

    def flush(self) -> Status[Any]:
        began = time.monotonic()
        try:
            done = self._tiers.flush(self._flush_timeout)
        except reprise.Error as error:
            return _failed(error)
        if done:
            return Status.ok()
        if time.monotonic() - began < self._flush_timeout:
            return Status(StatusCodes.ERROR, "L2 did not take what was to be written: it is away, or failed")
        return Status(StatusCodes.TIMEOUT, f"writes to L2 were still under way after {self._flush_timeout:g} s")

    def cache_chunk_keys(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        return chunk_keys(self._chunk_size, self.block_ntokens, args, kwargs)

    def close(self) -> None:
        self._tiers.close(self._flush_timeout)

    def _blocks(self, prefix: Tokens | None, query: Tokens, limit: int | None = None) -> Blocks:
        if isinstance(query, BlockHashes):
            assert not self._validates, "AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED needs tokens, not BlockHashes"
            assert self.block_ntokens % query.block_ntokens == 0, (
                f"block hashes of {query.block_ntokens} tokens do not make up blocks of {self.block_ntokens}"
            )
        return self._chains.blocks(prefix, query, limit)

    def _misaligned(self, prefix: Tokens | None) -> Status[Any] | None:
        if prefix is None or len(prefix) % self.block_ntokens == 0:
            return None
        return Status(
            StatusCodes.INVALID, f"a prefix of {len(prefix)} tokens is not whole blocks of {self.block_ntokens} tokens"
        )

    def _observe(
        self,
        op: MetricRecorder.OP,
        prefix: Tokens | None,
        query: Tokens,
        began: float,
        status: Status[Any],
        answer: Answer,
    ) -> None:
        seconds = time.perf_counter() - began
        observe(self._metrics, op, prefix, query, seconds, status, answer, self.block_ntokens)


def _unusable(handle: KVCacheHandle, spec: KVCacheBlockSpec) -> Status[Any] | None:
    if handle.released:
        return Status(StatusCodes.INVALID, "the handle was released, or put already")
    dtype, shape = getattr(handle, "_block_dtype", spec.block_dtype), getattr(handle, "_block_shape", spec.block_shape)
    if dtype != spec.block_dtype:
        return Status(StatusCodes.INVALID, f"the handle's blocks are of {dtype}, the cache's of {spec.block_dtype}")
    if tuple(shape) != tuple(spec.block_shape):
        return Status(StatusCodes.INVALID, f"the handle's blocks are {shape}, the cache's are {spec.block_shape}")
    return None


def _failed(error: Exception) -> Status[Any]:
    if isinstance(error, reprise.Error):
        return Status(_ERROR_CODES.get(error.code, StatusCodes.ERROR), error)
    return Status(StatusCodes.INVALID if isinstance(error, ValueError) else StatusCodes.ERROR, error)
