"""Counts what the backend did, and says so at most once a minute."""

import collections
import logging
import threading
import time
from typing import Any

LOG = logging.getLogger("reprise.sglang")

INTERVAL = 60.0
SAMPLES = 4096  # Transfers kept for SGLang's metrics until it asks for them.


class Report:
    """Any thread may call anything."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._mutex = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._told: collections.Counter[str] = collections.Counter()
        self._next = time.monotonic() + INTERVAL
        self._next_failure = 0.0
        self._transfers: dict[str, collections.deque[tuple[int, float]]] = {
            "loaded": collections.deque(maxlen=SAMPLES), "stored": collections.deque(maxlen=SAMPLES)}

    def asked(self, pages: int, found: int) -> None:
        """A lookup of `pages`, of which the first `found` are there."""
        self._add(asked=pages, found=found)

    def moved(self, kind: str, asked: int, done: int, page_bytes: int, seconds: float) -> None:
        """A transfer, "loaded" or "stored": `done` of `asked` pages."""
        if done:
            self._transfers[kind].append((done, done * page_bytes / 1e9 / max(seconds, 1e-9)))
        self._add(**{kind: done, "missed": asked - done if kind == "loaded" else 0,
                     "not_stored": asked - done if kind == "stored" else 0})

    def failed(self, call: str, error: Exception) -> None:
        """A call that raised. The engine sees it as one without a result."""
        now = time.monotonic()
        with self._mutex:
            self._counts["failed"] += 1
            tell = now >= self._next_failure
            if tell:
                self._next_failure = now + INTERVAL
        if tell:
            LOG.error("%s: %s failed and counts as without a result", self._name, call, exc_info=error)

    def counts(self) -> dict[str, int]:
        with self._mutex:
            return dict(self._counts)

    def transfers(self, kind: str) -> list[tuple[int, float]]:
        """Pages and GB/s of each transfer since the last call."""
        samples, taken = self._transfers[kind], []
        while samples:
            taken.append(samples.popleft())
        return taken

    def _add(self, **counts: int) -> None:
        now = time.monotonic()
        with self._mutex:
            self._counts.update(counts)
            if now < self._next:
                return
            self._next = now + INTERVAL
            news = {key: value - self._told[key] for key, value in self._counts.items() if value != self._told[key]}
            self._told = self._counts.copy()
        LOG.info("%s, pages of the last minute: %s", self._name, _text(news))


def _text(news: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in sorted(news.items())) or "none"
