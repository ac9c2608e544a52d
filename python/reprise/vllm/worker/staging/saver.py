"""The thread that stores what a device has copied into slots: fills reservations and commits them, one by one."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .device import wait_for
from .slots import Slot, Slots

if TYPE_CHECKING:
    from ...._native import Reservation

_PATIENCE = 60.0  # Seconds for the device to copy a slot; the engine's step before it counts.
_THREADS = 2  # Of one copy. Nobody waits for it.


@dataclass
class Part:
    """One slot's part of a reservation."""

    slot: Slot
    wanted: list[int]
    """Which block of the reservation is in which row, in ascending order. Those between are not wanted."""


@dataclass
class Job:
    """One reservation, and where its blocks will be."""

    room: Reservation
    parts: list[Part]
    count: int
    """Blocks of the reservation that are there when all parts are."""


@dataclass
class Stored:
    """What was stored since the last look."""

    blocks: int = 0
    seconds: float = 0.0
    """That the thread was busy with it."""
    problems: list[Exception] = field(default_factory=list)
    """The last few."""


class Saver:
    """Any thread may call anything. As many jobs wait as there are slots."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done = threading.Condition()
        self._pending = 0
        self._stored = Stored()
        self._late = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reprise-save", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """The reservation and the slots belong to the thread from now on."""
        with self._done:
            self._pending += 1
        self._jobs.put(job)

    def settle(self, until: float) -> bool:
        """Waits until nothing is under way; False at the time `until` (time.monotonic)."""
        with self._done:
            return self._done.wait_for(lambda: self._pending == 0, max(0.0, until - time.monotonic()))

    def take(self) -> Stored:
        """What was stored since the last call."""
        with self._done:
            stored, self._stored = self._stored, Stored()
        return stored

    def close(self, seconds: float) -> None:
        """Ends the thread when it has stored what is there, or after `seconds`: the rest is given up then."""
        self._jobs.put(None)
        self._thread.join(seconds)
        self._late.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        while job := self._jobs.get():
            began = time.monotonic()
            blocks, problem = self._store(job)
            del job  # The reservation keeps a connection open.
            with self._done:
                self._pending -= 1
                self._done.notify_all()
                self._stored.blocks += blocks
                self._stored.seconds += time.monotonic() - began
                if problem:
                    self._stored.problems = [*self._stored.problems[-3:], problem]

    def _store(self, job: Job) -> tuple[int, Exception | None]:
        """Stores the leading parts that could be filled. Every slot is given back."""
        filled, count = 0, job.count
        problem: Exception | None = None
        for part in job.parts:
            try:
                if count > part.wanted[0]:
                    filled += self._fill(job.room, part)
            except Exception as error:
                problem, count = error, part.wanted[0]
            self._slots.give(part.slot)
        try:
            if count:
                job.room.commit(count)
            else:
                job.room.abandon()
        except Exception as error:
            return 0, error
        return filled, problem

    def _fill(self, room: Reservation, part: Part) -> int:
        if part.slot.busy and not wait_for(part.slot.busy, time.monotonic() + _PATIENCE, self._late.is_set):
            raise TimeoutError("the device did not copy a block in time")
        rows = [0] * (part.wanted[-1] + 1 - part.wanted[0])
        for row, block in enumerate(part.wanted):
            rows[block - part.wanted[0]] = row
        return part.slot.pieces.gather_into(room, part.wanted[0], rows, threads=_THREADS)
