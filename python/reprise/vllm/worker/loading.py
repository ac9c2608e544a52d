"""The worker's thread that reads for requests which vLLM has parked: beside the steps, one load after the other.

The blocks it writes are nobody else's until the load is reported, and it is reported only when the thread has left
them: vLLM frees the blocks of an aborted request no earlier. Nothing raised in a load leaves this file.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..home import Home
from ..plan import Load

_MAX_WAITING = 4096  # Loads that have not begun; those beyond are not made.


@dataclass(frozen=True)
class Read:
    """What became of a load."""

    load: Load
    good: bool
    seconds: float = 0.0
    error: Exception | None = None


class Loader:
    """A queue and its thread, which starts with the first load. One thread calls this."""

    def __init__(self, read: Callable[[Load, Home | None], bool], patience: float) -> None:
        """`read`: False where blocks did not come; called by the thread. `patience`: longest wait for it, seconds."""
        self._read = read
        self._patience = patience
        self._ready = threading.Condition()
        self._waiting: deque[tuple[Load, Home | None, float]] = deque()
        self._done: list[Read] = []
        self._reading = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, load: Load, home: Home | None) -> None:
        """Will be in `take` once, whatever happens."""
        with self._ready:
            if self._closed or len(self._waiting) >= _MAX_WAITING:
                self._done.append(Read(load, False, error=RuntimeError("too many loads wait for their turn")))
                return
            self._waiting.append((load, home, time.monotonic()))
            self._ready.notify()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="reprise-load", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # There may be no more threads: it is tried again with the next load.
                with self._ready:
                    self._done += [Read(waiting, False, error=error) for waiting, _, _ in self._waiting]
                    self._waiting.clear()
                return
            self._thread = thread

    def take(self, patience: float = 0.0) -> list[Read]:
        """The loads that ended since the last call. Waits so many seconds for one, if there is any under way."""
        with self._ready:
            if patience and not self._done and (self._waiting or self._reading):
                self._ready.wait(patience)
            done, self._done = self._done, []
        return done

    def close(self, seconds: float) -> bool:
        """Gives up what has not begun. False if the load under way did not end in so many seconds."""
        with self._ready:
            self._closed = True
            self._done += [Read(load, False) for load, _, _ in self._waiting]
            self._waiting.clear()
            self._ready.notify()
        if self._thread:
            self._thread.join(seconds)
        return not (self._thread and self._thread.is_alive())

    def _run(self) -> None:
        while (item := self._next()) is not None:
            load, home, since = item
            began = time.monotonic()
            good, error = False, None
            try:
                if began - since > self._patience:
                    raise TimeoutError(f"it was not its turn within {self._patience} s")
                good = self._read(load, home)
            except Exception as caught:
                error = caught
            with self._ready:
                self._reading = False
                self._done.append(Read(load, good, time.monotonic() - began, error))
                self._ready.notify()

    def _next(self) -> tuple[Load, Home | None, float] | None:
        with self._ready:
            while not self._waiting and not self._closed:
                self._ready.wait()
            self._reading = not self._closed
            return None if self._closed else self._waiting.popleft()
