"""S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ... import envs
from ...memory import MemoryRegion
from ...status import Status
from .base_eviction_policy import BaseEvictionPolicy, BaseEvictionPolicyNode, Functor

_HOTTEST = 3


class S3FIFONode(BaseEvictionPolicyNode):
    """A resident block and the queue it stands in."""

    __slots__ = ("in_small",)

    def __init__(self, key: Any, value: MemoryRegion, in_small: bool) -> None:
        super().__init__(key, value)
        self.in_small = in_small


class S3FIFO(BaseEvictionPolicy[S3FIFONode]):
    """New blocks stand in a small queue, and reach the main one if they are asked for again in time.

    A third queue remembers the keys, not the blocks, of what left the small queue; it holds keys for at most the bytes
    of the main queue. The share of the small queue and how many accesses promote a block are
    AIBRIX_KV_CACHE_OL_S3FIFO_SMALL_FIFO_CAPACITY_RATIO and _SMALL_TO_MAIN_PROMO_THRESHOLD.
    """

    def __init__(
        self,
        capacity_nbytes: int,
        on_put: Functor | None = None,
        on_evict: Functor | None = None,
        on_hot_access: Functor | None = None,
    ) -> None:
        super().__init__(type(self).__name__, capacity_nbytes, on_put, on_evict, on_hot_access)
        self._threshold: int = envs.AIBRIX_KV_CACHE_OL_S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD
        ratio: float = envs.AIBRIX_KV_CACHE_OL_S3FIFO_SMALL_FIFO_CAPACITY_RATIO
        assert 1 <= self._threshold <= _HOTTEST, f"promotion after {self._threshold} accesses: 1 to {_HOTTEST}"
        assert 0 < ratio < 1, f"a small queue of {ratio} of the capacity: between 0 and 1"
        self._small_capacity = int(capacity_nbytes * ratio)
        self._main_capacity = capacity_nbytes - self._small_capacity
        # Oldest first.
        self._small: OrderedDict[Any, S3FIFONode] = OrderedDict()
        self._main: OrderedDict[Any, S3FIFONode] = OrderedDict()
        self._ghost: OrderedDict[Any, int] = OrderedDict()  # key -> bytes of the block that left
        self._small_nbytes = 0
        self._ghost_nbytes = 0

    def put(self, key: Any, value: MemoryRegion) -> Status[Any]:
        node = self._hashmap.get(key)
        if node is not None:
            before = node.value.length
            self._replace(node, value)
            if node.in_small:
                self._small_nbytes += value.length - before
            (self._small if node.in_small else self._main).move_to_end(key)
        else:
            self._put_new(key, value)
        while self._used_nbytes > self._capacity_nbytes:
            self._evict_one()
        return Status.ok()

    def get(self, key: Any) -> Status[MemoryRegion]:
        node = self._hashmap.get(key)
        if node is None:
            return self._missing()
        if node.in_small and node.hotness == self._threshold - 1:
            self._tell(self._on_hot_access, node)
        node.hotness = min(node.hotness + 1, _HOTTEST)
        return self._found(node)

    def delete(self, key: Any) -> Status[Any]:
        self._forget_ghost(key)
        node = self._hashmap.get(key)
        if node is not None:
            self._unlink(node)
            node.value.ref_down()
        return Status.ok()

    def evict(self, nbytes: int = 1) -> Status[Any]:
        target = self._target(nbytes)
        while self._used_nbytes > target and self._hashmap:
            self._evict_one()
        return Status.ok()

    def assert_consistency(self) -> None:
        assert self._hashmap.keys() == self._small.keys() | self._main.keys()
        assert not self._small.keys() & self._main.keys() and not self._hashmap.keys() & self._ghost.keys()
        assert sum(node.value.length for node in self._small.values()) == self._small_nbytes
        assert sum(node.value.length for node in self._hashmap.values()) == self._used_nbytes
        assert sum(self._ghost.values()) == self._ghost_nbytes <= max(self._main_capacity, 0)
        assert all(node.value.ref_count > 0 for node in self._hashmap.values()), "a block without a reference"
        assert all(node.in_small == (key in self._small) for key, node in self._hashmap.items())

    def _put_new(self, key: Any, value: MemoryRegion) -> None:
        seen = self._forget_ghost(key)
        node = self._hashmap[key] = S3FIFONode(key, value, in_small=not seen)
        self._used_nbytes += value.length
        if seen:
            self._main[key] = node
            self._tell(self._on_hot_access, node)
        else:
            self._small[key] = node
            self._small_nbytes += value.length
            self._tell(self._on_put, node)

    def _evict_one(self) -> None:
        """Evicts a block, or brings one nearer to that: it moves, or has one access less to its credit."""
        if self._small and (self._small_nbytes > self._small_capacity or not self._main):
            node = next(iter(self._small.values()))
            if node.hotness >= self._threshold:
                self._unlink(node)
                node.hotness, node.in_small = 0, False
                self._hashmap[node.key] = self._main[node.key] = node
                self._used_nbytes += node.value.length
                return
            self._drop(node)
            self._remember_ghost(node)
        else:
            node = next(iter(self._main.values()))
            if node.hotness > 0:
                node.hotness -= 1
                self._main.move_to_end(node.key)
            else:
                self._drop(node)

    def _unlink(self, node: S3FIFONode) -> None:
        del self._hashmap[node.key]
        self._used_nbytes -= node.value.length
        if node.in_small:
            del self._small[node.key]
            self._small_nbytes -= node.value.length
        else:
            del self._main[node.key]

    def _drop(self, node: S3FIFONode) -> None:
        self._unlink(node)
        self._tell(self._on_evict, node)
        node.value.ref_down()

    def _remember_ghost(self, node: S3FIFONode) -> None:
        self._ghost[node.key] = node.value.length
        self._ghost_nbytes += node.value.length
        while self._ghost_nbytes > self._main_capacity:
            _, nbytes = self._ghost.popitem(last=False)
            self._ghost_nbytes -= nbytes

    def _forget_ghost(self, key: Any) -> bool:
        nbytes = self._ghost.pop(key, None)
        self._ghost_nbytes -= nbytes or 0
        return nbytes is not None
