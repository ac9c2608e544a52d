"""From a call's answer to the figures of the manager and of each tier."""

from __future__ import annotations

from typing import Any

from .cache_hashable import BlockHashes, TokenListView
from .metrics import KVCacheMetrics, MetricRecorder
from .status import Status, StatusCodes
from .tiers.tiers import Answer

OP = MetricRecorder.OP
_WRITES = (OP.PUT, OP.ALLOCATE)


def observe(
    metrics: KVCacheMetrics,
    op: MetricRecorder.OP,
    prefix: TokenListView | BlockHashes | None,
    query: TokenListView | BlockHashes,
    seconds: float,
    status: Status[Any],
    answer: Answer,
    block_ntokens: int,
) -> None:
    """Takes note of one call. A tier's time is the call's: the core does not take it apart."""
    code = status.error_code
    prefix_tokens, tokens, fetched = 0 if prefix is None else len(prefix), len(query), answer.blocks * block_ntokens
    metrics.mgr.record(
        op, prefix_tokens=prefix_tokens, tokens=tokens, fetched_tokens=fetched, seconds=seconds, code=code
    )
    left = tokens
    if metrics.l1 is not None:
        found = min(fetched, answer.from_l1 * block_ntokens)
        metrics.l1.record(
            op,
            prefix_tokens=prefix_tokens,
            tokens=tokens,
            fetched_tokens=found,
            seconds=seconds,
            code=code if op in _WRITES else StatusCodes.OK if found else StatusCodes.NOT_FOUND,
        )
        left -= found
    if metrics.l2 is not None and (answer.asked_l2 or (metrics.l1 is None and op in _WRITES)):
        # What a group agreed on, or a footer allowed, may be less than the tiers had.
        found = min(fetched - (tokens - left), answer.from_l2 * block_ntokens)
        metrics.l2.record(
            op,
            prefix_tokens=prefix_tokens + tokens - left,
            tokens=left,
            fetched_tokens=found,
            seconds=seconds,
            code=code if op in _WRITES or not fetched else StatusCodes.OK if found else StatusCodes.NOT_FOUND,
        )
