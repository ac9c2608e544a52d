"""A lock for objects that only sometimes have more than one thread."""

from __future__ import annotations

from threading import RLock
from types import TracebackType


class _NoLock:
    """What a lock looks like where there is nothing to keep apart."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class ConditionalLock:
    """A reentrant lock if ``thread_safe``; otherwise the same calls without effect."""

    __slots__ = ("_lock",)

    def __init__(self, thread_safe: bool) -> None:
        self._lock = RLock() if thread_safe else _NoLock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Whether the lock was taken; waits for at most ``timeout`` seconds, -1 for as long as it takes."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
