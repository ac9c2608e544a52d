"""Asynchronous forms of methods that block."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


class AsyncBase:
    """For classes whose blocking methods shall also be awaitable: they run on ``executor``, which stays the caller's.

    event_loop: the loop to await on; the running one where None.
    """

    def __init__(self, executor: Executor, event_loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._executor = executor
        self._event_loop = event_loop

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        return self._event_loop or asyncio.get_running_loop()

    @staticmethod
    def async_wrap(**kwargs: str) -> Callable[[C], C]:
        """A class decorator: ``async_wrap(get="_get")`` makes ``await obj.get(...)`` of the method ``_get``."""

        def decorate(cls: C) -> C:
            for name, blocking in kwargs.items():
                method = _awaitable(blocking)
                method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
                setattr(cls, name, method)
            return cls

        return decorate


def _awaitable(blocking: str) -> Callable[..., Any]:
    async def method(self: AsyncBase, *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(getattr(self, blocking), *args, **kwargs)
        return await self.event_loop.run_in_executor(self._executor, call)

    return method
