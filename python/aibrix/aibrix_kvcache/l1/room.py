"""Making room in a policy without losing blocks that are in use."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from ..memory import MemoryRegion
from .eviction_policy import BaseEvictionPolicy

# Victims that turn out to be in use, in one search for room: they are put back as young ones, so the next search goes
# on behind them.
_MOST_PINNED = 64


class Note(NamedTuple):
    """Something a policy said: "put", "hot" or "evict", the block's key, and its region with a reference."""

    what: str
    key: Hashable
    region: MemoryRegion


class Room:
    """Evicts what nobody holds, and takes notes of what the policy says. Guarded by the lock of L1Cache."""

    def __init__(self, policy: BaseEvictionPolicy[Any], capacity_nbytes: int) -> None:
        self._policy = policy
        self._capacity_nbytes = capacity_nbytes
        self._notes: list[Note] = []
        self._silent = False
        policy.set_on_evict_callback(self.note_evict)

    def note_put(self, key: Hashable, region: MemoryRegion) -> None:
        self._note("put", key, region)

    def note_hot(self, key: Hashable, region: MemoryRegion) -> None:
        self._note("hot", key, region)

    def note_evict(self, key: Hashable, region: MemoryRegion) -> None:
        self._notes.append(Note("evict", key, region))

    def take_notes(self) -> list[Note]:
        """What was said since the last time, with the references."""
        notes, self._notes = self._notes, []
        return notes

    def make(self, nbytes: int) -> bool:
        """Evicts until `nbytes` more fit into the capacity; False if they do not."""
        if nbytes > self._capacity_nbytes:
            return False
        missing = len(self._policy) + nbytes - self._capacity_nbytes
        return missing <= 0 or self.free(missing) >= missing

    def free(self, nbytes: int) -> int:
        """Evicts `nbytes` of blocks that nobody holds; returns how many bytes, which may be fewer or a little more."""
        freed, pinned = 0, list[Note]()
        while freed < nbytes and len(pinned) < _MOST_PINNED:
            before = len(self._notes)
            self._policy.evict(1)
            victims = [note for note in self._notes[before:] if note.what == "evict"]
            if not victims:
                break
            in_use = [note for note in victims if note.region.ref_count > 1]
            if in_use:
                self._notes = [note for note in self._notes if not any(note is other for other in in_use)]
                pinned += in_use
            freed += sum(note.region.length for note in victims) - sum(note.region.length for note in in_use)
        self._put_back(pinned)
        return freed

    def _put_back(self, notes: list[Note]) -> None:
        self._silent = True
        for note in notes:  # Oldest first, so their order stays.
            self._policy.put(note.key, note.region)
        self._silent = False

    def _note(self, what: str, key: Hashable, region: MemoryRegion) -> None:
        if self._silent:
            region.ref_down()
        else:
            self._notes.append(Note(what, key, region))
