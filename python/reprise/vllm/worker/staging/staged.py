"""Blocks between KV tensors on a device and the cache, through staging memory on the device and page-locked slots.

    save: KV tensors --gather--> staging --copy--> slot --> reservation     on a stream of its own; the last copy, and
                                                                            the commit, on the saver's thread
    load: lease --> slot --copy--> staging --scatter--> KV tensors          on another stream

Order between the streams is by events, so that the engine's thread waits for the device only where a load needs more
slots than there are: a save begins after the step that computed its blocks, and later steps begin after its gather; a
load begins after the steps before it, and the step that needs it after its scatter. Where no slot is free, blocks are
not saved. docs/decisions/0014-kv-on-a-device.md has the reasons.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from .device import Device, Event, wait_for
from .saver import Job, Part, Saver, Stored
from .slots import Slot, Slots
from .views import BlockViews

if TYPE_CHECKING:
    from ...._native import Lease, Reservation

_LOAD_SLOTS = 2  # The CPU fills one while the device reads the other.
_BATCH = 2  # Slots that are gathered at once when saving: staging on the device is as large.
_PATIENCE = 30.0  # Seconds of a load to wait for the device; the engine's step before it counts.
_THREADS = 4  # Of the copy from a lease to a slot, for which a step waits.


class StagedKv:
    """The KV tensors of one group on one device.

    Made, and asked to store, by the engine's own thread; any other thread may load.
    """

    def __init__(self, device: Device, tensors: Sequence[Any], dims: Sequence[int], *, pinned_bytes: int,
                 step_blocks: int, slot_bytes: int) -> None:
        """Takes the staging memory.

        dims: which dimension of each tensor counts blocks. pinned_bytes: page-locked memory for saves, at most.
        step_blocks: blocks that one step of the engine may complete. slot_bytes: of one copy.
        """
        with torch.inference_mode(False):  # So that any thread may write into what is made here.
            self._views = BlockViews(tensors, dims)
            self.block_bytes = self._views.block_bytes
            self.num_blocks = int(tensors[0].shape[dims[0]])
            self._rows = max(1, slot_bytes // self.block_bytes)
            most = max(_BATCH, pinned_bytes // (self._rows * self.block_bytes))
            slots = min(most, max(_BATCH, -(-step_blocks // self._rows)))
            self._device = device
            self._save_rows, self._save_ids = self._staging(self._rows * _BATCH)
            self._load_rows, self._load_ids = self._staging(self._rows)
            self._save_slots = Slots([Slot(device, self._rows, self.block_bytes) for _ in range(slots)])
            self._load_slots = Slots([Slot(device, self._rows, self.block_bytes) for _ in range(_LOAD_SLOTS)])
        self._save_stream, self._load_stream = device.new_stream(), device.new_stream()
        self._load_lock = threading.Lock()  # One load's chunk at a time has the staging memory.
        self._saver = Saver(self._save_slots)
        self._closed = False
        self.begin_step()

    def begin_step(self) -> None:
        """On the engine's thread, before the loads of a step: learns on which stream the engine works now."""
        self._engine_thread = threading.get_ident()
        self._engine = self._device.engine_stream()

    def scatter_from(self, lease: Lease, first: int, block_ids: Sequence[int]) -> bool:
        """Blocks [first, first + len(block_ids)) of a lease into the tensors; False if the lease ran out meanwhile.

        On the engine's thread it returns before the device is done: what the engine enqueues from now on comes
        after. On another thread it returns when the blocks are there, or False after a while. The lease is not needed
        any more when this returns. ValueError for an id that there is not; ids must not repeat.
        """
        self._check(block_ids)
        if self._closed or not block_ids:
            return not block_ids
        until = time.monotonic() + _PATIENCE
        inside = threading.get_ident() == self._engine_thread
        engine = self._device.engine_stream() if inside else self._engine
        # The blocks may have been another request's until now, and the engine may be at them still.
        self._load_stream.wait(engine.record())
        sent: list[Event] = []
        done = False
        try:
            good = self._send_all(lease, first, block_ids, until, sent)
            done = good and not inside and wait_for(sent[-1], until)
            return done or (good and inside)
        finally:
            # Of a load that failed, too: the engine computes these blocks, and nothing may write into them later.
            if sent and not done:
                engine.wait(sent[-1])

    def store(self, room: Reservation, block_ids: Sequence[int]) -> tuple[int, int]:
        """Fills a reservation with as many blocks, and commits it a little later on the saver's thread.

        Returns for how many of those that it wants there was a slot (what comes behind them is not stored), and how
        many are in the cache by now: none, unless there was nothing to copy. On the engine's thread, after the step
        that computed the blocks was enqueued. The reservation is the caller's no longer. ValueError for an id that
        there is not.
        """
        parts: list[Part] = []
        try:
            self._check(block_ids)
            if len(block_ids) != len(room):
                raise ValueError(f"{len(block_ids)} block ids for a reservation of {len(room)}")
            wanted = [i for i in range(len(room)) if room[i] is not None]
            if wanted and not self._closed:
                self._gather(wanted, block_ids, parts)
            taken = sum(len(part.wanted) for part in parts)
            count = len(room) if taken == len(wanted) else wanted[taken]
            if not parts:  # Nothing to wait for.
                return 0, room.commit(count)
        except BaseException:
            room.abandon()
            for part in parts:  # Some of it may have been enqueued.
                part.slot.busy = self._save_stream.record()
                self._save_slots.give(part.slot)
            raise
        self._saver.submit(Job(room, parts, count))
        return taken, 0

    def stored(self) -> Stored:
        """What was stored since the last call."""
        return self._saver.take()

    def settle(self, until: float) -> bool:
        """Waits until what was stored so far is in the cache; False at the time `until` (time.monotonic)."""
        return self._saver.settle(until)

    def close(self, seconds: float = 5.0) -> None:
        """Stores what is under way, as far as that takes no longer; nothing is stored or loaded any more."""
        self._closed = True
        self._saver.close(seconds)

    def _staging(self, rows: int) -> tuple[Any, Any]:
        return self._device.memory((rows, self.block_bytes), torch.uint8), self._device.memory((rows,), torch.int64)

    def _check(self, ids: Sequence[int]) -> None:
        # On a device, an index out of range would end the process's use of it.
        for i, number in enumerate(ids):
            if not 0 <= number < self.num_blocks:
                raise ValueError(f"block_ids[{i}] is {number}; there are {self.num_blocks} blocks")

    def _send_all(self, lease: Lease, first: int, ids: Sequence[int], until: float, sent: list[Event]) -> bool:
        for at in range(0, len(ids), self._rows):
            some = ids[at:at + self._rows]
            slot = self._load_slots.take(until)
            if slot is None:
                return False
            try:
                if not slot.pieces.scatter_from(lease, first + at, range(len(some)), threads=_THREADS):
                    return False
                self._send(slot, some, sent)
            finally:
                self._load_slots.give(slot)
        return True

    def _send(self, slot: Slot, ids: Sequence[int], sent: list[Event]) -> None:
        blocks, names = slot.name(ids)
        rows, numbers = self._load_rows[:len(ids)], self._load_ids[:len(ids)]
        with self._load_lock:
            try:
                self._load_stream.run(partial(numbers.copy_, names, non_blocking=True))
                self._load_stream.run(partial(rows.copy_, blocks, non_blocking=True))
                self._load_stream.run(partial(self._views.scatter, numbers, rows))
            finally:  # Some of it may have been enqueued.
                slot.busy = self._load_stream.record()
                sent.append(slot.busy)

    def _gather(self, wanted: list[int], ids: Sequence[int], parts: list[Part]) -> None:
        """Enqueues the copies of as many of the wanted blocks as there are slots for, in order."""
        self.begin_step()
        self._save_stream.wait(self._engine.record())
        at, gathered = 0, None
        while at < len(wanted):
            batch = len(parts)
            while at < len(wanted) and len(parts) < batch + _BATCH and (slot := self._save_slots.take()):
                parts.append(Part(slot, wanted[at:at + self._rows]))
                at += self._rows
            if len(parts) == batch:
                break
            gathered = self._copy_out(parts[batch:], ids)
        if gathered:  # These blocks may become another request's in the next step.
            self._engine.wait(gathered)

    def _copy_out(self, batch: list[Part], ids: Sequence[int]) -> Event:
        """One gather, and a copy for each slot; the point behind the gather."""
        chunks = []
        end = 0
        for part in batch:
            blocks, names = part.slot.name([ids[i] for i in part.wanted])
            chunks.append((part.slot, blocks, names, slice(end, end + len(part.wanted))))
            end += len(part.wanted)
        rows, numbers = self._save_rows[:end], self._save_ids[:end]
        for _, _, names, where in chunks:
            self._save_stream.run(partial(numbers[where].copy_, names, non_blocking=True))
        self._save_stream.run(partial(self._views.gather, numbers, rows))
        gathered = self._save_stream.record()
        for slot, blocks, _, where in chunks:
            self._save_stream.run(partial(blocks.copy_, rows[where], non_blocking=True))
            slot.busy = self._save_stream.record()
        return gathered
