"""Objects that are dear to make, kept for the next user."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ObjectPool(Generic[T]):
    """Hands out objects of one kind, at most ``max_pool_size`` at once. Any thread may use it.

    klass or object_creator: makes an object, called without arguments; never under the pool's lock.
    min_pool_size: objects that are made at once, if making one does not fail.

    ValueError if neither is given, if a size is negative or the smaller is the larger.
    """

    def __init__(
        self,
        *,
        klass: type[T] | None = None,
        object_creator: Callable[[], T] | None = None,
        min_pool_size: int = 3,
        max_pool_size: int = 20,
    ) -> None:
        create = object_creator or klass
        if create is None:
            raise ValueError("a pool needs klass or object_creator")
        if min_pool_size < 0 or max_pool_size < 0:
            raise ValueError(f"pool sizes cannot be negative, got {min_pool_size} and {max_pool_size}")
        if min_pool_size > max_pool_size:
            raise ValueError(f"min_pool_size {min_pool_size} is more than max_pool_size {max_pool_size}")
        self.object_creator: Callable[[], T] = create
        self.min_pool_size = min_pool_size
        self.max_pool_size = max_pool_size
        self._lock = threading.Lock()
        self._lent = 0
        self._idle: deque[T] = deque()
        try:
            for _ in range(min_pool_size):
                self._idle.append(create())
        except Exception:  # whoever asks for an object meets the same exception then
            pass

    def get(self, n: int = 1) -> list[T] | None:
        """``n`` objects, or None if more than max_pool_size would be out. Raises what making one raises."""
        with self._lock:
            if self._lent + n > self.max_pool_size:
                return None
            self._lent += n
            objects = [self._idle.pop() for _ in range(min(n, len(self._idle)))]
        try:
            while len(objects) < n:
                objects.append(self.object_creator())
        except BaseException:
            with self._lock:
                self._lent -= n
                self._idle.extend(objects)
            raise
        return objects

    def put(self, objs: Any) -> None:
        """Takes back one object, or a list of them. None, and objects beyond max_pool_size, are let go."""
        if objs is None:
            return
        given = objs if isinstance(objs, list) else [objs]
        with self._lock:
            self._lent = max(0, self._lent - len(given))
            self._idle.extend(given[: self.max_pool_size - len(self._idle)])

    def size(self) -> int:
        """Objects that wait for a user."""
        with self._lock:
            return len(self._idle)

    def capacity(self) -> int:
        """Objects that wait, and those that are out."""
        with self._lock:
            return len(self._idle) + self._lent
