"""The scheduler side's memory of steps whose outcome is not known yet, and of what is read within them.

Called by the scheduler's one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ... import _native
from ..plan import Save
from .lookup import release

_MAX_STEPS = 1024


@dataclass
class Step:
    """What is known of one when it is planned."""

    number: int
    tokens: int = 0
    saves: list[Save] = field(default_factory=list)
    keys_of: dict[int, bytes] = field(default_factory=dict)
    """Of the blocks that are read within it, by block id."""
    tables: list[list[int]] = field(default_factory=list)
    """Block ids of the requests that these are for."""
    leases: list[_native.Lease] = field(default_factory=list)
    foreign: bool = False
    """Another connector beside this one loads within it, and only vLLM learns how that ends."""
    planned_at: float = field(default_factory=time.monotonic)

    def reads(self, lease: _native.Lease, block_ids: Sequence[int], keys: Sequence[bytes]) -> None:
        """The workers are to read the first of `keys` from a lease into these blocks."""
        self.leases.append(lease)
        self.keys_of.update(zip(block_ids, keys, strict=False))

    def spoilt(self, invalid: Collection[int]) -> set[int]:
        """Where reading these blocks has failed: they, and what was computed from them."""
        blocks = set(invalid)
        for ids in self.tables:
            first = next((i for i, block_id in enumerate(ids) if block_id in blocks), len(ids))
            blocks.update(ids[first:])
        return blocks

    def release(self) -> None:
        """Gives back what was leased for it."""
        for lease in self.leases:
            release(lease)
        self.leases = []


class OpenSteps:
    """In the order in which they were planned."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()

    def reading(self, own: bool = True) -> bool:
        """Whether something is read within one of them: by this connector, or by another one."""
        return any(step.keys_of if own else step.foreign for step in self._steps)

    def add(self, step: Step) -> list[Step]:
        """One more. Returns those that are not waited for any longer."""
        self._steps.append(step)
        return [self._steps.popleft()] if len(self._steps) > _MAX_STEPS else []

    def until(self, number: int) -> Iterable[Step]:
        """Takes out all steps up to this one."""
        while self._steps and self._steps[0].number <= number:
            yield self._steps.popleft()

    def expire(self, before: float) -> None:
        """Gives back leases of steps planned before then. The steps stay: their outcome says what of them is good."""
        for step in self._steps:
            if step.planned_at < before:
                step.release()

    def close(self) -> None:
        """Gives all leases back."""
        for step in self._steps:
            step.release()
        self._steps.clear()
