"""What an eviction policy written in Python is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from ...memory import MemoryRegion
from ...status import Status, StatusCodes

Functor = Callable[[Any, MemoryRegion], None]


class BaseEvictionPolicyNode:
    """A resident block: its key, its region, and how often it was asked for since it was put."""

    __slots__ = ("hotness", "key", "value")

    def __init__(self, key: Hashable, value: MemoryRegion) -> None:
        self.key = key
        self.value = value
        self.hotness = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key={self.key!r}, hotness={self.hotness})"


N = TypeVar("N", bound=BaseEvictionPolicyNode)


class BaseEvictionPolicy(ABC, Generic[N]):
    """Holds regions by key, up to `capacity_nbytes`, and decides which go. Keys are hashable and otherwise opaque.

    - `put` takes over the caller's reference to the region; the policy drops it when the block goes.
    - `get` returns a region with a reference for the caller.
    - A callback `(key, region)` gets a reference of its own, which it must drop: `on_put` for a new block,
      `on_hot_access` when a block becomes hot, `on_evict` for one that is evicted (not for one that is deleted).
    - Not synchronised. L1Cache calls it under its lock; its callbacks there only take notes, and what the user asked to
      be called is called after the lock was let go.

    Subclasses have a constructor `(capacity_nbytes, on_put=None, on_evict=None, on_hot_access=None)`, keep a node per
    resident block in `_hashmap` and the sum of their bytes in `_used_nbytes`, or override what reads these.
    """

    def __init__(
        self,
        name: str,
        capacity_nbytes: int,
        on_put: Functor | None = None,
        on_evict: Functor | None = None,
        on_hot_access: Functor | None = None,
    ) -> None:
        self._name = name
        self._capacity_nbytes = capacity_nbytes
        self._used_nbytes = 0
        self._on_put = on_put
        self._on_evict = on_evict
        self._on_hot_access = on_hot_access
        self._hashmap: dict[Any, N] = {}

    @staticmethod
    def create(name: str, *args: Any, **kwargs: Any) -> BaseEvictionPolicy[Any]:
        """The policy of that name (built in, registered, or "package.module:Class"). ValueError if there is none."""
        from .registry import find_eviction_policy

        return find_eviction_policy(name)(*args, **kwargs)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capacity_nbytes(self) -> int:
        return self._capacity_nbytes

    def set_on_put_callback(self, functor: Functor | None) -> None:
        self._on_put = functor

    def set_on_evict_callback(self, functor: Functor | None) -> None:
        self._on_evict = functor

    def set_on_hot_access_callback(self, functor: Functor | None) -> None:
        self._on_hot_access = functor

    @abstractmethod
    def put(self, key: Any, value: MemoryRegion) -> Status[Any]:
        """Keeps the region, in place of one that has the key already. May evict others, or even this one."""

    @abstractmethod
    def get(self, key: Any) -> Status[MemoryRegion]:
        """The region with a reference for the caller, noted as an access; or NOT_FOUND."""

    @abstractmethod
    def delete(self, key: Any) -> Status[Any]:
        """Forgets the block, if it is there. OK either way."""

    @abstractmethod
    def evict(self, nbytes: int = 1) -> Status[Any]:
        """Evicts until at most min(len, capacity) - `nbytes` bytes remain."""

    @abstractmethod
    def assert_consistency(self) -> None:
        """AssertionError if what the policy keeps contradicts itself."""

    def __len__(self) -> int:
        """Bytes of the resident blocks."""
        return self._used_nbytes

    def __bool__(self) -> bool:
        """A policy is a thing even when it is empty."""
        return True

    def __contains__(self, key: object) -> bool:
        return key in self._hashmap

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def __getitem__(self, key: Any) -> MemoryRegion:
        """As `get`; KeyError if it is not there."""
        status = self.get(key)
        if not status.is_ok():
            raise KeyError(key)
        return status.get()

    def __setitem__(self, key: Any, value: MemoryRegion) -> None:
        self.put(key, value)

    def __delitem__(self, key: Any) -> None:
        self.delete(key)

    def items(self) -> Iterator[tuple[Any, MemoryRegion]]:
        """Resident (key, region) pairs; no access is noted and no reference taken."""
        return ((key, node.value) for key, node in self._hashmap.items())

    def keys(self) -> Iterator[Any]:
        return iter(self._hashmap)

    def values(self) -> Iterator[MemoryRegion]:
        return (node.value for node in self._hashmap.values())

    def __repr__(self) -> str:
        return f"{self._name}(capacity_nbytes={self._capacity_nbytes}, size={len(self)})"

    # For subclasses.

    def _target(self, nbytes: int) -> int:
        """Bytes that may remain after `evict(nbytes)`."""
        return max(0, min(len(self), self._capacity_nbytes) - nbytes)

    def _tell(self, functor: Functor | None, node: N) -> None:
        if functor is not None:
            node.value.ref_up()
            functor(node.key, node.value)

    def _found(self, node: N) -> Status[MemoryRegion]:
        node.value.ref_up()
        return Status(StatusCodes.OK, node.value)

    @staticmethod
    def _missing() -> Status[MemoryRegion]:
        return Status.error(StatusCodes.NOT_FOUND)

    def _replace(self, node: N, value: MemoryRegion) -> None:
        """Another region for a resident block."""
        old, node.value = node.value, value
        self._used_nbytes += value.length - old.length
        old.ref_down()
