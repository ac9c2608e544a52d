"""What the scheduler side tells others: vLLM of tiers, routers of blocks, operators of gains. On one thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from .events import Events, Offer
from .gains import Gains
from .levels import Levels
from .operations import Operations, lookup_operations
from .sources import Sources


class Reports:
    """Parts that are not wanted are None."""

    def __init__(self) -> None:
        self.gains = Gains()
        self.events: Events | None = None
        self.levels: Levels | None = None
        self.operations: Operations | None = None
        self._asked = ("", 0)  # Who was asked for last, and for how many tokens.
        self._hit = ("", 0)  # Who was allocated last, and how many of its tokens were in memory.

    def asks(self, request_id: str, tokens: int) -> None:
        """A request asks for so many tokens, maybe not for the first time."""
        self._asked = (request_id, tokens)

    def allocated(self, request: Any, blocks: int, unit: int, sources: Sources) -> None:
        """A request got so many blocks of `unit` tokens from the cache."""
        found = sources.take(request.request_id, blocks)
        self._hit = (request.request_id, found.memory * unit)
        self.gains.found += blocks * unit
        self.gains.behind += found.behind * unit
        self.gains.slow_tier = sources.slow_tier
        name, asked = self._asked
        if name != request.request_id or not asked:
            return  # Its blocks have come before.
        self._asked = ("", 0)
        self.gains.asked += asked
        if self.operations:
            self.operations.add(*lookup_operations(request.num_tokens - asked, asked, found, unit,
                                                   bool(sources.slow_tier)))

    def hit(self, request_id: str, tokens: int) -> tuple[int, int, str]:
        """Of the request that was allocated last: its tokens that were in memory, those behind it, and what that is."""
        memory = min(tokens, self._hit[1]) if self._hit[0] == request_id else tokens
        return memory, tokens - memory, self.gains.slow_tier

    def planned(self, number: int, saves: Sequence[Offer], loads: Sequence[Offer]) -> None:
        """As Events has it, and so are the next two."""
        if self.events:
            self.events.planned(number, saves, loads)

    def outcome(self, number: int, unsaved: Collection[int], bad: bool) -> None:
        """See Events.reported."""
        if self.events:
            self.events.reported(number, unsaved, bad)

    def reset(self) -> None:
        """See Events.reset."""
        if self.events:
            self.events.reset()

    def take_stats(self) -> dict[str, Any]:
        """What is new since the last call, as data of RepriseStats; empty if that is nothing."""
        levels = self.levels.take() if self.levels else {}
        operations = self.operations.take() if self.operations else []
        return ({"levels": levels} if levels else {}) | ({"operations": operations} if operations else {})

    def close(self) -> None:
        """Ends the threads."""
        if self.events:
            self.events.close()
        if self.levels:
            self.levels.close()
