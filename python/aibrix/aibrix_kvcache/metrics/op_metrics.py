"""The figures of one operation."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..status import Status, StatusCodes
from .base import Metrics
from .buckets import MS_BUCKETS, TOKEN_BUCKETS, BucketCounts
from .recorder import MetricRecorder

_FOLD_AT = 256  # Samples wait unsorted up to here: recording stays an append.
_RECENT = 1024  # Samples that the lists show.

_READS = (MetricRecorder.OP.GET, MetricRecorder.OP.ACQUIRE, MetricRecorder.OP.EXISTS)
_FETCHES = (MetricRecorder.OP.GET, MetricRecorder.OP.ACQUIRE)


@dataclass(frozen=True)
class OpTotals:
    """Everything recorded since the beginning: the copy an exporter compares with its last one."""

    num_ops: int
    errors: dict[str, int]
    tokens_hit: int
    tokens_miss: int
    prefixes: BucketCounts
    tokens: BucketCounts
    fetched: BucketCounts
    op_lat_ms: BucketCounts


class OpMetrics(Metrics):
    """Counts of one operation, histograms since the beginning, and the latest samples.

    `is_error` decides which answers count as errors; by default everything but OK, and for reads NOT_FOUND. The lists
    (`num_prefixes`, `num_tokens`, `num_fetched_tokens`, `op_lat_ms`) hold the latest samples, at most about a thousand,
    and are what `reset` empties; `num_ops` and `num_errors` go on.
    """

    def __init__(
        self,
        op: MetricRecorder.OP,
        is_error: Callable[[Status[Any]], bool] | None = None,
        block_ntokens: int = 1,
        enable_time_measurement: bool = True,
        enable_breakdown_measurement: bool = True,
    ) -> None:
        self.op = op
        self.block_ntokens = block_ntokens
        self.time_measurement_enabled = enable_time_measurement
        self.breakdown_measurement_enabled = enable_breakdown_measurement
        self.num_ops = 0
        self.tokens_hit = 0
        self.tokens_miss = 0
        self.is_fetch = op in _FETCHES
        self._misses_are_errors = op not in _READS
        self._is_error = is_error
        self._lock = threading.Lock()
        self._errors: dict[str, int] = {}
        self._errors_at_reset: dict[str, int] = {}
        self._pending: list[tuple[int, int, int, float]] = []
        self._recent: deque[tuple[int, int, int, float]] = deque(maxlen=_RECENT)
        self._prefixes = BucketCounts(TOKEN_BUCKETS)
        self._tokens = BucketCounts(TOKEN_BUCKETS)
        self._fetched = BucketCounts(TOKEN_BUCKETS)
        self._op_lat_ms = BucketCounts(MS_BUCKETS)

    def record(self, prefix_tokens: int, tokens: int, fetched_tokens: int, seconds: float, code: StatusCodes) -> None:
        """One operation on `tokens` after a prefix of `prefix_tokens`, of which `fetched_tokens` were got."""
        ok = code is StatusCodes.OK
        fetched = fetched_tokens if ok and self.is_fetch else -1
        with self._lock:
            self.num_ops += 1
            self._pending.append((prefix_tokens, tokens, fetched, seconds * 1000.0))
            if self.is_fetch:
                hit = fetched if ok else 0
                self.tokens_hit += hit
                self.tokens_miss += tokens - hit
            if not ok and self._counts_as_error(code):
                reason = code.name.lower()
                self._errors[reason] = self._errors.get(reason, 0) + 1
            if len(self._pending) >= _FOLD_AT:
                self._fold()

    def add(
        self, num_prefix: int, num_tokens: int, status: Status[Any], lat_ms: float, breakdowns: object = None
    ) -> None:
        """`record` in the original's form."""
        fetched = tokens_of(status, self.block_ntokens)
        self.record(num_prefix, num_tokens, fetched, lat_ms / 1000.0, status.error_code)

    def totals(self) -> OpTotals:
        """A copy of everything recorded since the beginning, whatever was reset."""
        with self._lock:
            self._fold()
            return OpTotals(
                self.num_ops,
                dict(self._errors),
                self.tokens_hit,
                self.tokens_miss,
                self._prefixes.copy(),
                self._tokens.copy(),
                self._fetched.copy(),
                self._op_lat_ms.copy(),
            )

    @property
    def num_errors(self) -> int:
        """Errors since the beginning."""
        return sum(dict(self._errors).values())

    @property
    def num_errors_by_reason(self) -> dict[str, int]:
        """Errors since the last reset, by the status code's name in small letters."""
        with self._lock:
            since = {reason: n - self._errors_at_reset.get(reason, 0) for reason, n in self._errors.items()}
        return {reason: count for reason, count in since.items() if count}

    @property
    def num_prefixes(self) -> list[int]:
        return [sample[0] for sample in self._samples()]

    @property
    def num_tokens(self) -> list[int]:
        return [sample[1] for sample in self._samples()]

    @property
    def num_fetched_tokens(self) -> list[int]:
        return [sample[2] for sample in self._samples() if sample[2] >= 0]

    @property
    def op_lat_ms(self) -> list[float]:
        return [sample[3] for sample in self._samples()] if self.time_measurement_enabled else []

    def reset(self) -> None:
        with self._lock:
            self._fold()
            self._recent.clear()
            self._errors_at_reset = dict(self._errors)

    def summary(self) -> str:
        totals = self.totals()
        parts = [f"{self.op.name.lower()}: ops={totals.num_ops}"]
        means = [("prefix", totals.prefixes), ("tokens", totals.tokens), ("ms", totals.op_lat_ms)]
        if self.is_fetch:
            means.insert(2, ("fetched", totals.fetched))
        parts += [f"{name}/op={counts.total / counts.count:.3f}" for name, counts in means if counts.count]
        if totals.errors:
            parts.append(f"errors={totals.errors}")
        return " ".join(parts)

    def _counts_as_error(self, code: StatusCodes) -> bool:
        if self._is_error is not None:
            return self._is_error(Status.error(code))
        return self._misses_are_errors or code is not StatusCodes.NOT_FOUND

    def _samples(self) -> list[tuple[int, int, int, float]]:
        with self._lock:
            return [*self._recent, *self._pending]

    def _fold(self) -> None:
        """Sorts what waits into the histograms. The lock is held."""
        if not self._pending:
            return
        prefixes, tokens, fetched, op_lat_ms = np.array(self._pending, dtype=np.float64).T
        self._prefixes.add(prefixes)
        self._tokens.add(tokens)
        if self.is_fetch:
            self._fetched.add(fetched[fetched >= 0])
        if self.time_measurement_enabled:
            self._op_lat_ms.add(op_lat_ms)
        self._recent.extend(self._pending)
        self._pending.clear()


def tokens_of(status: Status[Any], block_ntokens: int) -> int:
    """Tokens that an answer stands for: a count of blocks, a list of them, or (tokens, handle)."""
    value = status.value if status.error_code is StatusCodes.OK else None
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        value = value[0]
    elif isinstance(value, Sized) and not isinstance(value, (str, bytes)):
        value = len(value)
    return int(value) * block_ntokens if isinstance(value, int) else 0
