"""The blocks of a prompt in a connector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import torch

from .. import envs
from ..cache_hashable import BlockHashes, KVCacheKeyTypes
from ..memory import ExternalMemoryRegion, ManagedMemoryRegion, MemoryRegion
from ..meta_service import MetaService
from ..metrics import L2CacheMetrics, MeasurableBase, MetricRecorder
from ..spec import KVCacheBlockSpec
from ..status import Status, StatusCodes
from .connectors import Connector, ConnectorConfig, ConnectorFeature
from .connectors.connector import MR, regions_of
from .key_builders import ChainKeyBuilder, KeyBuilder
from .placement import Placement, PlacementConfig

_WRITE_S = 5.0  # A write may take this long at least; reads have the time per token alone.


class L2Cache(MeasurableBase):
    """Blocks by (prefix, query) in a backend, or in the members of a cluster when there is a meta service.

    Counts in answers are blocks, and only the leading run counts: a block behind one that is missing does not. Every
    call has a deadline of AIBRIX_KV_CACHE_OL_L2_CACHE_PER_TOKEN_TIMEOUT_MS per token asked for, and answers TIMEOUT, or
    what there was by then. A prefix that does not end at a block is INVALID; an incomplete last block is left out.
    References to regions stay with the caller.
    """

    def __init__(
        self,
        backend_name: str,
        placement_policy: str,
        namespace: str,
        block_spec: KVCacheBlockSpec,
        executor: Executor,
        refresh_interval_s: int = 0,
        op_batch: int = 8,
        metrics: L2CacheMetrics | None = None,
        meta_service: MetaService | None = None,
        key_builder: KeyBuilder | None = None,
    ) -> None:
        super().__init__(metrics)
        self.block_spec = block_spec
        self.op_batch = max(1, op_batch)
        self.key_builder = key_builder or ChainKeyBuilder(block_spec.block_ntokens)
        self._compact = MemoryRegion.use_compact_layout()
        config = self._connector_config(backend_name, namespace, executor)
        self._backend: Connector[Any, Any]
        if meta_service is None:
            self._backend = Connector.create(config)
        else:
            self._backend = Placement.create(
                PlacementConfig(placement_policy, config, meta_service, refresh_interval_s)
            )

    def __repr__(self) -> str:
        return f"L2Cache(backend={self._backend.name}, blocks={self.block_spec.signature})"

    @property
    def feature(self) -> ConnectorFeature:
        return self._backend.feature

    def open(self) -> Status[Any]:
        """Opens the backend, or the members that can be reached."""
        return self._backend.open()

    def close(self) -> Status[Any]:
        return self._backend.close()

    def flush(self) -> Status[Any]:
        """Nothing waits: a put that was answered has been written."""
        return Status.ok()

    def register_slabs(self, slabs: list[torch.Tensor]) -> Status[Any]:
        return self._backend.register_slabs(slabs)

    @MeasurableBase.measure(MetricRecorder.OP.EXISTS)
    async def exists(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[int]:
        """How many leading blocks are there; NOT_FOUND if not one is."""
        keys, wrong = self._keys(prefix, query)
        if wrong is not None:
            return wrong
        return await self._runs(keys, None, "exists_run", self._seconds(len(keys)))

    @MeasurableBase.measure(MetricRecorder.OP.GET)
    async def get(
        self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, mrs: Sequence[MR]
    ) -> Status[int]:
        """Reads the leading blocks that are there into `mrs`, one a block; the other regions hold anything then."""
        keys, wrong = self._keys(prefix, query)
        if wrong is not None:
            return wrong
        assert len(mrs) == len(keys), f"{len(mrs)} regions for {len(keys)} blocks"
        status = await self._runs(keys, mrs, "get_run", self._seconds(len(keys)))
        if self._compact or not status.is_ok():
            return status
        count = self._verified(prefix, query, mrs[: status.get()])
        return Status.ok(count) if count else Status.error(StatusCodes.NOT_FOUND, "tokens mismatch")

    @MeasurableBase.measure(MetricRecorder.OP.PUT)
    async def put(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, kv_tensors: Any) -> Status[int]:
        """Writes blocks: a region, a sequence with one a block, or a handle. OK with how many leading ones were."""
        mrs = [kv_tensors] if isinstance(kv_tensors, MemoryRegion) else kv_tensors
        mrs = list(getattr(mrs, "memory_regions", mrs))
        keys, wrong = self._keys(prefix, query)
        if wrong is not None:
            return wrong
        if len(mrs) != len(keys):
            return Status.error(StatusCodes.INVALID, f"{len(mrs)} regions for {len(keys)} blocks")
        self._seal(prefix, query, mrs)
        return await self._runs(keys, mrs, "put_run", max(_WRITE_S, self._seconds(len(keys))))

    async def delete(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[Any]:
        """Forgets the blocks."""
        keys, wrong = self._keys(prefix, query)
        if wrong is not None:
            return Status.ok() if wrong.is_not_found() else wrong
        status = await self._backend.delete_all(keys, max(_WRITE_S, self._seconds(len(keys))))
        return Status.ok() if status.is_ok() else status

    async def prefetch(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> Status[Any]:
        """Brings blocks nearer, where the backend can."""
        keys, wrong = self._keys(prefix, query)
        if wrong is None and self.feature.prefetch:
            await self._backend.prefetch(keys)
        return Status.ok()

    async def allocate(
        self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, sizes: Sequence[int]
    ) -> Status[Sequence[MemoryRegion]]:
        """Memory of the backend to fill: no backend has any, so ERROR. The native cache's reservations are that."""
        return Status.error(StatusCodes.ERROR, f"{self._backend.name} has no memory of its own to lend")

    async def acquire(
        self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes
    ) -> Status[Sequence[MemoryRegion]]:
        """Memory of the backend to read: likewise. Use `get`."""
        return Status.error(StatusCodes.ERROR, f"{self._backend.name} has no memory of its own to lend")

    def _connector_config(self, backend_name: str, namespace: str, executor: Executor) -> ConnectorConfig:
        spec = self.block_spec
        heads, layers = spec.tensor_spec.heads, spec.tensor_spec.layers
        return ConnectorConfig(
            backend_name=backend_name,
            namespace=namespace,
            partition_id=f"h{heads[0]}_{heads[-1]}_l{layers[0]}_{layers[-1]}",
            executor=executor,
            block_spec_signature=spec.signature,
            key_builder_signature=self.key_builder.signature,
            layout_signature="c" if self._compact else "ex",
            block_nbytes=spec.block_nbytes if self._compact else 0,
            model=envs.AIBRIX_KV_CACHE_OL_MODEL,
            # What the original's identity leaves out: blocks of equal size need not be blocks of one kind.
            extras={
                "dtype": str(spec.block_dtype).removeprefix("torch."),
                "head_size": str(spec.tensor_spec.head_size),
                "heads": ",".join(map(str, heads)),
                "layers": ",".join(map(str, layers)),
            },
        )

    def _seconds(self, blocks: int) -> float:
        per_token: int = envs.AIBRIX_KV_CACHE_OL_L2_CACHE_PER_TOKEN_TIMEOUT_MS
        return max(0.001, blocks * self.block_spec.block_ntokens * per_token / 1000.0)

    def _keys(
        self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes
    ) -> tuple[list[bytes], Status[int] | None]:
        """Keys of the complete blocks, or what to answer instead."""
        ntokens = self.block_spec.block_ntokens
        nprefix = len(prefix) if prefix is not None else 0
        if nprefix % ntokens:
            wrong = f"a prefix of {nprefix} tokens does not end at a block of {ntokens}"
            return [], Status.error(StatusCodes.INVALID, wrong)
        if len(query) < ntokens:
            return [], Status.error(StatusCodes.NOT_FOUND, f"{len(query)} tokens are less than a block of {ntokens}")
        if not isinstance(query, BlockHashes):
            assert not isinstance(prefix, BlockHashes), "prefix and query are of different kinds"
            return [key for _, key in self.key_builder.build(prefix, query)], None
        per_block, rest = divmod(ntokens, query.block_ntokens)
        assert not rest and per_block, f"hashes of {query.block_ntokens} tokens do not make up blocks of {ntokens}"
        hashes = query.hashes
        starts = range(0, len(hashes) - per_block + 1, per_block)
        return ["".join(hashes[start : start + per_block]).encode() for start in starts], None

    async def _runs(self, keys: list[bytes], mrs: Sequence[MR] | None, what: str, seconds: float) -> Status[int]:
        """The run in batches; one that is not served whole is the last. What was served before an error counts."""
        until = time.monotonic() + seconds
        batch = self.op_batch if self._backend.WRITES_LATE else len(keys)
        done = 0
        while done < len(keys):
            part = keys[done : done + batch]
            left = until - time.monotonic()
            if left <= 0:
                status: Status[int] = Status.error(StatusCodes.TIMEOUT, f"{seconds:.3f} s are over")
            elif mrs is None:
                status = await getattr(self._backend, what)(part, left)
            elif what == "get_run":
                status = await self._get_run(part, mrs[done : done + batch], left)
            else:
                status = await getattr(self._backend, what)(part, mrs[done : done + batch], left)
            if not status.is_ok():
                return Status.ok(done) if done else status
            done += status.get()
            if status.get() < len(part):
                break
        return Status.ok(done) if done else Status.error(StatusCodes.NOT_FOUND)

    async def _get_run(self, keys: Sequence[bytes], mrs: Sequence[MR], seconds: float) -> Status[int]:
        """Connectors that may write late get regions nobody else uses: what comes after the deadline harms nobody."""
        if not self._backend.WRITES_LATE or self.feature.rdma:
            return await self._backend.get_run(keys, mrs, seconds)
        lent = [_like(mr) for mr in mrs]
        status = await self._backend.get_run(keys, lent, seconds)
        for mr, copy in zip(mrs[: status.get() if status.is_ok() else 0], lent, strict=False):
            for into, part in zip(regions_of(mr), regions_of(copy), strict=True):
                into.copy(part)
        return status

    def _seal(self, prefix: KVCacheKeyTypes | None, query: Any, mrs: Sequence[MR]) -> None:
        """Marks the blocks as complete, and packs their tokens behind them where the layout has these."""
        for index, mr in enumerate(mrs):
            if isinstance(mr, ManagedMemoryRegion):
                if not self._compact:
                    before, block = self._split(prefix, query, index)
                    mr.pack_tokens(prefix=before, query=block)
                mr.seal()

    def _verified(self, prefix: KVCacheKeyTypes | None, query: Any, mrs: Sequence[MR]) -> int:
        """How many leading blocks have the tokens behind them that were asked for."""
        for index, mr in enumerate(mrs):
            if isinstance(mr, ManagedMemoryRegion):
                before, block = self._split(prefix, query, index)
                got_prefix, got_query = mr.unpack_tokens()
                if got_query != block or (got_prefix != before if before is not None else got_prefix is not None):
                    return index
        return len(mrs)

    def _split(self, prefix: KVCacheKeyTypes | None, query: Any, index: int) -> tuple[Any, Any]:
        """(everything before block `index` of the query or None, the block)."""
        whole = query if prefix is None or not len(prefix) else prefix + query
        ntokens = self.block_spec.block_ntokens
        start = len(whole) - len(query) + index * ntokens
        return (whole[:start] if start else None), whole[start : start + ntokens]


def _like(mr: MR) -> MR:
    """Memory of the same form that nobody knows of."""
    lent = [
        ExternalMemoryRegion(torch.empty(part.length, dtype=torch.uint8, device=part.slab.device), 0, part.length)
        for part in regions_of(mr)
    ]
    return lent[0] if isinstance(mr, MemoryRegion) else lent
