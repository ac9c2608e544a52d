"""Page-locked memory, in slots, that blocks pass through on their way between the cache and a device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from ...._native import KvPieces
from .device import Device, Event

_POLL = 0.0002


class Slot:
    """Room for some blocks in memory of the CPU. Used by whoever took it."""

    def __init__(self, device: Device, rows: int, block_bytes: int) -> None:
        self.blocks = device.host_memory((rows, block_bytes), torch.uint8)
        """[rows, block_bytes]."""
        self.ids = device.host_memory((rows,), torch.int64)
        """Of the engine's blocks, one a row."""
        self.pieces = KvPieces.from_tensors([self.blocks])
        """Between `blocks` and the cache: engine block i is row i."""
        self.busy: Event | None = None
        """Until it is reached, the device reads or writes this memory."""

    def name(self, ids: Sequence[int]) -> tuple[Any, Any]:
        """Notes the ids; returns the rows of blocks and ids that are used then."""
        self.ids[:len(ids)] = torch.tensor(ids, dtype=torch.int64, device="cpu")
        return self.blocks[:len(ids)], self.ids[:len(ids)]


class Slots:
    """Those that nobody uses. Any thread may call anything."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._free = deque(slots)

    def take(self, until: float = 0.0) -> Slot | None:
        """One that the device is done with; None if there is none at the time `until` (time.monotonic)."""
        while True:
            for _ in range(len(self._free)):
                slot = self._take_if_done()
                if slot:
                    return slot
            if time.monotonic() >= until:
                return None
            time.sleep(_POLL)

    def give(self, slot: Slot) -> None:
        """Back; the device may be at it still."""
        self._free.append(slot)

    def _take_if_done(self) -> Slot | None:
        try:
            slot = self._free.popleft()
        except IndexError:  # Another thread was faster.
            return None
        done = False
        try:
            done = slot.busy is None or slot.busy.reached()
        finally:
            if not done:
                self._free.append(slot)
        return slot if done else None
