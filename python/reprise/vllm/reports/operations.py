"""Operations on the cache one by one, for histograms: what the drop-in's dashboards draw. Not thread-safe.

They travel with KVConnectorStats as plain lists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .sources import Found

LIMIT = 4096  # Operations between two reports; more are not counted.


class Operation(NamedTuple):
    """One operation. Numbers below 0: not known, or without meaning here."""

    cache: str
    """`cachemgr`, `l1cache`, `l2cache`; or `connector`."""
    op: str
    prefix: int
    """Tokens before those that it is about."""
    tokens: int
    fetched: int = -1
    """Tokens that it brought, or sent."""
    milliseconds: float = -1.0
    failure: str = ""
    """As the drop-in names its errors; empty for none."""


class Operations:
    """Since the last `take`."""

    def __init__(self) -> None:
        self._list: list[Operation] = []

    def add(self, *operations: Operation) -> None:
        """Notes them."""
        if len(self._list) < LIMIT:
            self._list += operations

    def take(self) -> list[list[Any]]:
        """As plain data."""
        taken, self._list = self._list, []
        return [list(operation) for operation in taken]


def joined(one: list[list[Any]], other: list[list[Any]]) -> list[list[Any]]:
    """Those of several ranks or steps."""
    return [*one, *other][:16 * LIMIT]


def lookup_operations(prefix: int, asked: int, found: Found, unit: int, slow_tier: bool) -> list[Operation]:
    """One lookup for all ranks as operations: on the cache as a whole, and on the tiers it went through.

    prefix, asked: tokens that the engine had itself, and those behind them. unit: tokens of one of `found`'s blocks.
    """
    memory, behind = found.memory * unit, found.behind * unit
    told = [Operation("cachemgr", "acquire", prefix, asked, memory + behind, found.seconds * 1000, found.failure),
            Operation("l1cache", "acquire", prefix, asked, memory)]
    if slow_tier and asked > memory:
        told.append(Operation("l2cache", "acquire", prefix + memory, asked - memory, behind))
    return told
