"""A device that works as late as it may, and in as odd an order: so that a missing wait shows up as wrong bytes.

Its memory is that of the CPU. Streams only note their work; it is done when somebody looks at an event, a few pieces at
a time, by streams in an order that is drawn. As on a real device, order holds within a stream, and between streams
only where one waits for an event of another.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch


class LateEvent:
    def __init__(self, device: LateDevice, name: str) -> None:
        self._device = device
        self.name = name
        self.done = False

    def reached(self) -> bool:
        if self._device.broken:
            raise RuntimeError("the device has failed")
        if self.name in self._device.lies:
            return True
        self._device.work()
        return self.done


class LateStream:
    def __init__(self, device: LateDevice, name: str) -> None:
        self._device = device
        self.name = name
        self.queue: deque[Callable[[], object] | LateEvent | tuple[LateEvent]] = deque()

    def run(self, work: Callable[[], object]) -> None:
        with self._device.lock:
            if self.name == self._device.faulty:
                self._device.good_runs -= 1
                if self._device.good_runs < 0:
                    self._device.faulty = ""
                    raise RuntimeError("no more memory on the device")
            self.queue.append(work)
        time.sleep(0.0001)  # Another thread may come between.

    def record(self) -> LateEvent:
        event = LateEvent(self._device, self.name)
        with self._device.lock:
            self.queue.append(event)
        return event

    def wait(self, event: LateEvent) -> None:
        if (self.name, event.name) not in self._device.missing:
            with self._device.lock:
                self.queue.append((event,))


class PromptStream(LateStream):
    """Of an engine on the CPU: what it was given is done, and what it waits for is done before it goes on."""

    def record(self) -> LateEvent:
        event = LateEvent(self._device, self.name)
        event.done = True
        return event

    def wait(self, event: LateEvent) -> None:
        while not event.done and (self.name, event.name) not in self._device.missing:
            self._device.work(1)


class LateDevice:
    """Streams are named `engine`, `save` and `load`. `stopped`: it does nothing. `broken`: each look at an event fails.

    `fail` makes one piece of work be refused. favourite: the stream whose work is done first wherever it can be; none:
    drawn by `seed`. missing: pairs of streams of which the first does not wait for events of the second, though told
    to. lies: streams whose events seem to be reached at once. prompt: the engine works on the CPU. idle: how often
    nothing is done when somebody looks at an event.
    """

    def __init__(self, favourite: str = "", *, seed: int = 0, missing: tuple[tuple[str, str], ...] = (),
                 lies: tuple[str, ...] = (), prompt: bool = False, idle: float = 0.0) -> None:
        self.favourite, self.missing, self.lies, self.idle = favourite, missing, lies, idle
        self.faulty, self.good_runs = "", 0
        self.stopped, self.broken = False, False
        self.lock = threading.RLock()
        self._random = random.Random(seed)
        self.engine = (PromptStream if prompt else LateStream)(self, "engine")
        self.streams = [self.engine]

    def engine_stream(self) -> LateStream:
        return self.engine

    def new_stream(self) -> LateStream:
        self.streams.append(LateStream(self, ("save", "load")[len(self.streams) - 1]))
        return self.streams[-1]

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return torch.zeros(shape, dtype=dtype)

    def host_memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return torch.zeros(shape, dtype=dtype)

    def fail(self, stream: str, after: int = 0) -> None:
        """Refuses one piece of work of this stream, after some good ones."""
        self.faulty, self.good_runs = stream, after

    def work(self, pieces: int | None = None) -> None:
        """Does some of what is there; None: a few pieces, as drawn."""
        with self.lock:
            if pieces is None:
                pieces = 0 if self._random.random() < self.idle else self._random.randint(0, 3)
            for _ in range(pieces):
                able = [s for s in self.streams if s.queue and not self.stopped and _able(s)]
                if not able:
                    return
                first = [s for s in able if s.name == self.favourite]
                stream = first[0] if first else self._random.choice(able)
                what = stream.queue.popleft()
                if isinstance(what, LateEvent):
                    what.done = True
                elif not isinstance(what, tuple):
                    what()

    def finish(self) -> None:
        """Does everything that is there."""
        while any(s.queue for s in self.streams):
            self.work(100)


def _able(stream: LateStream) -> bool:
    head = stream.queue[0]
    return not isinstance(head, tuple) or head[0].done
