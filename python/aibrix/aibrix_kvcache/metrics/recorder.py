"""Where operations are reported to."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Any

from ..status import Status, StatusCodes
from .base import Breakdowns


class MetricRecorder(ABC):
    """Takes note of operations. Any thread may call it."""

    class OP(enum.Enum):
        """The operations of a cache."""

        PUT = enum.auto()
        GET = enum.auto()
        ACQUIRE = enum.auto()
        ALLOCATE = enum.auto()
        EXISTS = enum.auto()

    class Resource(enum.Enum):
        """What has a capacity."""

        L1_EVICTION_POLICY = enum.auto()
        L1_ALLOCATOR = enum.auto()

    @abstractmethod
    def record(
        self,
        op: MetricRecorder.OP,
        num_prefix: int | None = None,
        num_tokens: int | None = None,
        status: Status[Any] | None = None,
        lat_ms: float | None = None,
        breakdowns: Breakdowns | None = None,
        *,
        prefix_tokens: int = 0,
        tokens: int = 0,
        fetched_tokens: int = 0,
        seconds: float = 0.0,
        code: StatusCodes = StatusCodes.OK,
    ) -> None:
        """One operation: by keywords, or in the original's form, where `status` is the answer and its value is counted
        in blocks of the recorder's `block_ntokens`.
        """
