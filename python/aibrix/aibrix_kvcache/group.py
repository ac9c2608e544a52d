"""The manager of a tensor-parallel group: every rank gets the same answer.

Each rank has the blocks of its own heads, and may have more or fewer of them than the others. `acquire` and `get` take
the smallest count of all ranks: one reduction per call. All ranks must make the same calls in the same order with equal
tokens. The other calls are each rank's own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from reprise import Reason

from . import envs
from .base_manager import BaseKVCacheManager
from .cache_handle import KVCacheHandle, MemoryRegionKVCacheHandle
from .chains import Blocks
from .config import KVCacheConfig
from .tiers import Answer

Found = TypeVar("Found")
_FAILED = -1


class GroupAwareKVCacheManager(BaseKVCacheManager):
    """A manager whose `acquire` and `get` agree over a process group.

    A rank that does not answer within GROUP_TIMEOUT_S breaks the group: from then on this rank answers ERROR, at once.

    Args:
        config: as for `BaseKVCacheManager`; heads and layers are those of this rank.
        process_group: a group of `torch.distributed`, with gloo or NCCL.
    """

    def __init__(self, config: KVCacheConfig, process_group: dist.ProcessGroup) -> None:
        assert dist.is_initialized(), "torch.distributed must be initialised first"
        self._group = process_group
        self._rank = dist.get_rank(process_group)
        self._world = dist.get_world_size(process_group)
        device = "cuda" if dist.get_backend(process_group) == "nccl" else "cpu"
        self._count = torch.zeros(1, dtype=torch.int32, device=device)
        self._broken: str | None = None
        super().__init__(config)
        self._group_timeout = timedelta(seconds=envs.AIBRIX_KV_CACHE_OL_GROUP_TIMEOUT_S)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, rank {self._rank} of {self._world})"

    def _acquire_blocks(self, blocks: Blocks) -> tuple[MemoryRegionKVCacheHandle | None, Answer]:
        handle: MemoryRegionKVCacheHandle | None = None

        def find() -> Answer:
            nonlocal handle
            handle, answer = super(GroupAwareKVCacheManager, self)._acquire_blocks(blocks)
            return answer

        try:
            answer = self._agree(find)
        except BaseException:
            if handle is not None:
                handle.release()
            raise
        if handle is None:
            return None, answer
        if answer.blocks == 0:
            handle.release()
            return None, answer
        handle.truncate(answer.blocks)
        return handle, answer

    def _copy_blocks(self, blocks: Blocks, into: KVCacheHandle) -> Answer:
        return self._agree(lambda: super(GroupAwareKVCacheManager, self)._copy_blocks(blocks, into))

    def _agree(self, find: Callable[[], Answer]) -> Answer:
        """What every rank has. A rank that fails tells the others, so that nobody waits for it."""
        if self._broken is not None:
            raise RuntimeError(self._broken)
        failure: Exception | None = None
        try:
            answer = find()
        except Exception as error:
            failure = error
        least = self._least(_FAILED if failure is not None else answer.blocks)
        if failure is not None:
            raise failure
        if least == _FAILED:
            raise RuntimeError("another rank's cache failed in this call")
        if least < answer.blocks:
            return answer._replace(blocks=least, reason=Reason.MISS)
        return answer if least else answer._replace(reason=Reason.MISS)

    def _least(self, count: int) -> int:
        self._count.fill_(count)
        try:
            work: Any = dist.all_reduce(self._count, op=dist.ReduceOp.MIN, group=self._group, async_op=True)
            work.wait(self._group_timeout)
        except RuntimeError as error:
            self._broken = f"the ranks of this group no longer agree, the cache is not used any more: {error}"
            raise RuntimeError(self._broken) from error
        return int(self._count.item())
