"""Measuring methods of caches."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from ..status import Status
from .cache_metrics import BaseCacheMetrics
from .recorder import MetricRecorder


class MeasurableBase:
    """A cache whose methods report to a recorder, if it has one."""

    def __init__(self, recorder: BaseCacheMetrics | None) -> None:
        self._recorder = recorder

    @staticmethod
    def measure(op: MetricRecorder.OP) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates a method `(self, prefix, query, ...) -> Status`, or a coroutine of that form, to be recorded as
        `op`.
        """

        def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
            if asyncio.iscoroutinefunction(method):

                @functools.wraps(method)
                async def measured_async(self: MeasurableBase, prefix: Any, query: Any, *args: Any, **kw: Any) -> Any:
                    start = time.perf_counter()
                    status = await method(self, prefix, query, *args, **kw)
                    self._note(op, prefix, query, status, start)
                    return status

                return measured_async

            @functools.wraps(method)
            def measured(self: MeasurableBase, prefix: Any, query: Any, *args: Any, **kw: Any) -> Any:
                start = time.perf_counter()
                status = method(self, prefix, query, *args, **kw)
                self._note(op, prefix, query, status, start)
                return status

            return measured

        return decorate

    def _measured_call(
        self, call: Callable[[], Status[Any]], op: MetricRecorder.OP, prefix_tokens: int, tokens: int
    ) -> Status[Any]:
        """`call()`, recorded."""
        start = time.perf_counter()
        status = call()
        if self._recorder is not None:
            self._recorder.record(op, prefix_tokens, tokens, status, (time.perf_counter() - start) * 1000.0)
        return status

    def _note(self, op: MetricRecorder.OP, prefix: Any, query: Any, status: Status[Any], start: float) -> None:
        if self._recorder is not None:
            prefix_tokens = len(prefix) if prefix is not None else 0
            lat_ms = (time.perf_counter() - start) * 1000.0
            self._recorder.record(op, prefix_tokens, len(query), status, lat_ms)
