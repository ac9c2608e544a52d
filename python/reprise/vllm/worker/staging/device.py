"""What staging needs of a device: streams that run work in order, events between them, and memory.

The one place where a real device and the one of the tests differ. `cuda.py` is the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

_POLL = 0.0002  # Seconds between two looks at an event.


class Event(Protocol):
    """A point in the work of a stream."""

    def reached(self) -> bool:
        """Whether all work before it is done. Returns at once."""


class Stream(Protocol):
    """Work of the device that is done in the order it came in, some time later. Any thread may add to it."""

    def run(self, work: Callable[[], object]) -> None:
        """Adds what torch does in `work`: copies between memories, and kernels. Tensors used in it must live on."""

    def record(self) -> Event:
        """The point behind everything added so far."""

    def wait(self, event: Event) -> None:
        """What is added from now on begins after `event`. The calling thread does not wait."""


class Device(Protocol):
    """One device."""

    def engine_stream(self) -> Stream:
        """The stream that the calling thread works on: on the engine's own thread, that of the model."""

    def new_stream(self) -> Stream:
        """A stream beside the engine's."""

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A tensor on the device."""

    def host_memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A tensor in memory of the CPU that the device reads and writes by itself: page-locked."""


def wait_for(event: Event, until: float, given_up: Callable[[], bool] = lambda: False) -> bool:
    """Waits in this thread for `event`; False at the time `until` (time.monotonic), or when `given_up` says so."""
    while not event.reached():
        if time.monotonic() >= until or given_up():
            return False
        time.sleep(_POLL)
    return True
