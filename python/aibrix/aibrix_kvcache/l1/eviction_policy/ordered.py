"""What LRU and FIFO have in common: one queue."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ...memory import MemoryRegion
from ...status import Status
from .base_eviction_policy import BaseEvictionPolicy, BaseEvictionPolicyNode, Functor


class OrderedPolicy(BaseEvictionPolicy[BaseEvictionPolicyNode]):
    """The oldest block of a queue goes first; a subclass says which accesses make a block young again."""

    MOVES_ON_ACCESS = False

    def __init__(
        self,
        capacity_nbytes: int,
        on_put: Functor | None = None,
        on_evict: Functor | None = None,
        on_hot_access: Functor | None = None,
    ) -> None:
        super().__init__(type(self).__name__, capacity_nbytes, on_put, on_evict, on_hot_access)
        self._queue: OrderedDict[Any, BaseEvictionPolicyNode] = OrderedDict()
        self._hashmap = self._queue

    def put(self, key: Any, value: MemoryRegion) -> Status[Any]:
        node = self._queue.get(key)
        if node is not None:
            self._replace(node, value)
            node.hotness = 0
            self._access(node)
        else:
            node = self._queue[key] = BaseEvictionPolicyNode(key, value)
            self._used_nbytes += value.length
            self._tell(self._on_put, node)
        self._shrink(self._capacity_nbytes)
        return Status.ok()

    def get(self, key: Any) -> Status[MemoryRegion]:
        node = self._queue.get(key)
        if node is None:
            return self._missing()
        if node.hotness == 0:
            self._tell(self._on_hot_access, node)
        node.hotness = 1
        self._access(node)
        return self._found(node)

    def delete(self, key: Any) -> Status[Any]:
        node = self._queue.pop(key, None)
        if node is not None:
            self._used_nbytes -= node.value.length
            node.value.ref_down()
        return Status.ok()

    def evict(self, nbytes: int = 1) -> Status[Any]:
        self._shrink(self._target(nbytes))
        return Status.ok()

    def assert_consistency(self) -> None:
        assert sum(node.value.length for node in self._queue.values()) == self._used_nbytes
        assert all(node.value.ref_count > 0 for node in self._queue.values()), "a block without a reference"
        assert all(key == node.key for key, node in self._queue.items())

    def _access(self, node: BaseEvictionPolicyNode) -> None:
        if self.MOVES_ON_ACCESS:
            self._queue.move_to_end(node.key)

    def _shrink(self, nbytes: int) -> None:
        while self._used_nbytes > nbytes and self._queue:
            _, node = self._queue.popitem(last=False)
            self._used_nbytes -= node.value.length
            self._tell(self._on_evict, node)
            node.value.ref_down()
