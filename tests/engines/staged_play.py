"""An engine with KV on a device, played: on a device of the tests, with a cache, and beside it what must come out."""

from __future__ import annotations

import random
from typing import Any

import pytest

import reprise
from reprise.vllm import layouts
from reprise.vllm.layouts import KvLayout, Staging, layout_of
from reprise.vllm.staging import StagedKv

from harness import eventually
from kv_tables import BLOCKS, TABLE, Tensors, fresh, memory, named
from late_device import LateDevice


def direct_layout(tensors: Tensors) -> tuple[str, reprise.KvPieces]:
    """As of tensors in memory of the CPU."""
    layout = layout_of(named(tensors), list(named(tensors)), BLOCKS)
    assert isinstance(layout.pieces, reprise.KvPieces)
    return layout.name, layout.pieces


def staged_layout(device: LateDevice, tensors: Tensors, rows: int = 2, slots: int = 3) -> tuple[KvLayout, StagedKv]:
    """As of tensors on a device; `rows`: blocks of a slot."""
    size = direct_layout(tensors)[1].block_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "_device_of", lambda _: device)
        staging = Staging(pinned_bytes=slots * rows * size, step_blocks=slots * rows, slot_bytes=rows * size)
        layout = layout_of(named(tensors), list(named(tensors)), BLOCKS, staging)
    assert layout.staged
    return layout, layout.staged


class Play:
    """An engine and its cache, played: what the engine's stream does, what is stored and what is loaded, at random.

    A second set of tensors, in which everything is done at once, says what must come out.
    """

    def __init__(self, name: str, device: LateDevice, seed: int, rows: int = 2) -> None:
        self.random = random.Random(seed)
        self.device = device
        self.tensors, self.ideal = fresh(TABLE[name]), fresh(TABLE[name])
        self.kernels, self.shadow = direct_layout(self.tensors)[1], direct_layout(self.ideal)[1]
        self.size = self.kernels.block_bytes
        self.layout, self.staged = staged_layout(device, self.tensors, rows)
        self.cache = reprise.Cache.open(l1_capacity="8MiB", l1_populate=False)
        self.ns = reprise.Namespace(model="m", revision="r", dtype="d", layout=self.layout.name, block_tokens=16,
                                    block_bytes=self.size, layers=range(0, 1), heads=range(0, 1), salt="")
        self.chains: list[tuple[reprise.Chain, bytes]] = []
        self.seen: list[tuple[bytearray, bytes]] = []
        self.wrong = 0

    def __enter__(self) -> Play:
        return self

    def __exit__(self, *_: object) -> None:
        self.device.stopped = False
        self.staged.close()
        self.cache.close()

    def chain(self, blocks: int) -> reprise.Chain:
        return reprise.Chain(self.ns, self.random.randbytes(16 * blocks))

    def some_ids(self) -> list[int]:
        return self.random.sample(range(BLOCKS), self.random.randint(1, BLOCKS))

    def write(self, ids: list[int]) -> bytes:
        """The engine computes blocks."""
        what = self.random.randbytes(len(ids) * self.size)
        self.shadow.scatter(ids, what)
        self.device.engine.run(lambda: self.kernels.scatter(ids, what))
        return what

    def read(self, ids: list[int]) -> None:
        """The engine reads blocks."""
        found, wanted = bytearray(len(ids) * self.size), bytearray(len(ids) * self.size)
        self.shadow.gather(ids, wanted)
        self.device.engine.run(lambda: self.kernels.gather(ids, found))
        self.seen.append((found, bytes(wanted)))

    def store(self, ids: list[int]) -> int:
        """What these blocks hold now, as a chain of its own; returns how many were taken."""
        chain, what = self.chain(len(ids)), bytearray(len(ids) * self.size)
        self.shadow.gather(ids, what)
        taken, _ = self.staged.store(self.cache.reserve(chain), ids)
        if taken:
            self.chains.append((chain, bytes(what[:taken * self.size])))
        return taken

    def there(self, chain: reprise.Chain, blocks: int) -> None:
        eventually(lambda: self.cache.match(chain).blocks >= blocks, "the chain is stored")

    def load(self, chain: reprise.Chain, what: bytes, ids: list[int]) -> bool:
        ids = ids[:len(what) // self.size]
        self.there(chain, len(what) // self.size)
        with self.cache.acquire(chain) as lease:
            good = self.staged.scatter_from(lease, 0, ids)
        if good:
            self.shadow.scatter(ids, what[:len(ids) * self.size])
        return good

    def round(self) -> None:
        ids = self.some_ids()
        self.write(ids)
        if self.chains and self.random.random() < 0.5:
            self.load(*self.random.choice(self.chains), ids)
            self.read(ids)
        else:
            self.store(ids)
        self.write(self.some_ids())

    def mistakes(self) -> int:
        """Wrong bytes anywhere, when all is done."""
        self.device.finish()
        for chain, what in self.chains:
            self.there(chain, len(what) // self.size)
            blocks = [bytearray(self.size) for _ in range(len(what) // self.size)]
            assert self.cache.get(chain, blocks).blocks >= len(blocks)
            self.wrong += b"".join(blocks) != what
        self.wrong += sum(found != wanted for found, wanted in self.seen)
        return self.wrong + (memory(self.tensors) != memory(self.ideal))


def play(name: str, seed: int, **how: Any) -> int:
    """Mistakes in some rounds, with slots of one to three blocks. how: arguments of the device."""
    with Play(name, LateDevice(seed=seed, **how), seed, 1 + seed % 3) as game:
        for _ in range(12):
            game.round()
        return game.mistakes()
