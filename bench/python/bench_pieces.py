#!/usr/bin/env python3
"""KvPieces from Python beside torch: what a connector pays to move blocks between paged tensors and a cache's memory.

In one process, one thread: `gather` and `scatter` of shuffled blocks, against torch's index_select and copy_ (for
scatter copy_ alone: it is faster here than index_copy_ and index_put_) and against a plain copy of as many bytes.
bench/RESULTS.md says how to read the table.

    bench_pieces.py [--quick] [--pairs N] [--json FILE]      with an interpreter that has reprise-kv and torch
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from pairs import Goal, Pair, Row
from report import machine, table

import reprise

LAYERS = 16
BATCH = 8  # Blocks a call.


class Rig:
    """Layers [blocks, piece] of 2-byte items, one after the other in one storage, and as many blocks of a cache."""

    def __init__(self, piece: int, total: int) -> None:
        block = piece * LAYERS
        self.blocks = max(2, total // (block * BATCH)) * BATCH
        self.nbytes = self.blocks * block
        self.layers = list(torch.randint(0, 32767, (LAYERS, self.blocks, piece // 2), dtype=torch.int16))
        self.cached = torch.zeros(self.blocks, LAYERS, piece // 2, dtype=torch.int16)
        self.flat = torch.zeros(self.nbytes // 2, dtype=torch.int16)
        self.pieces = reprise.KvPieces.from_tensors(self.layers)
        order = torch.randperm(self.blocks, generator=torch.Generator().manual_seed(1))
        self.calls = [(first, ids.tolist(), ids) for first, ids in
                      ((first, order[first:first + BATCH]) for first in range(0, self.blocks, BATCH))]

    def gather(self) -> None:
        for first, ids, _ in self.calls:
            self.pieces.gather(ids, self.cached[first:first + BATCH])

    def scatter(self) -> None:
        for first, ids, _ in self.calls:
            self.pieces.scatter(ids, self.cached[first:first + BATCH])

    def torch_gather(self) -> None:
        for first, _, ids in self.calls:
            for number, layer in enumerate(self.layers):
                self.cached[first:first + BATCH, number].copy_(torch.index_select(layer, 0, ids))

    def torch_scatter(self) -> None:
        for first, ids, _ in self.calls:
            for at, block in enumerate(ids):
                for number, layer in enumerate(self.layers):
                    layer[block].copy_(self.cached[first + at, number])

    def plain(self) -> None:
        self.flat.copy_(self.cached.view(-1))

    def check(self) -> None:
        """Both ways move the same bytes to the same places."""
        self.gather()
        ours = self.cached.clone()
        self.cached.zero_()
        self.torch_gather()
        assert torch.equal(ours, self.cached)
        before = [layer.clone() for layer in self.layers]
        for layer in self.layers:
            layer.zero_()
        self.scatter()
        assert all(torch.equal(a, b) for a, b in zip(before, self.layers, strict=True))
        for layer in self.layers:
            layer.zero_()
        self.torch_scatter()
        assert all(torch.equal(a, b) for a, b in zip(before, self.layers, strict=True))


def measure(pairs: int, nbytes: int, ours: Callable[[], None], limit: Callable[[], None]) -> Iterator[Pair]:
    def rate(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return nbytes / 1e6 / (time.perf_counter() - start)

    ours()
    limit()  # The first touch of everything.
    for i in range(pairs):
        if i % 2 == 0:
            yield Pair(rate(ours), rate(limit), rate(limit), True)
        else:
            again, bound = rate(limit), rate(limit)
            yield Pair(rate(ours), bound, again, False)


def rows(pairs: int, quick: bool) -> Iterator[Row]:
    total = 16 << 20 if quick else max(4 * machine()["llc_bytes"], 128 << 20)
    for kib in (4, 32, 256):
        rig = Rig(kib << 10, total)
        rig.check()
        bar = Goal("ratio >=", 0.8) if kib >= 32 else Goal()
        for name, ours, theirs in (("gather", rig.gather, rig.torch_gather),
                                   ("scatter", rig.scatter, rig.torch_scatter)):
            case = f"{name} {kib} KiB x {LAYERS} layers, {BATCH} blocks a call"
            yield Row(f"{case}, against a plain copy", "MB/s", bar, list(measure(pairs, rig.nbytes, ours, rig.plain)))
            yield Row(f"{case}, against torch", "MB/s", Goal(), list(measure(pairs, rig.nbytes, ours, theirs)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything, every run too, here")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="small sizes and two pairs: the figures mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = list(rows(2 if given.quick else given.pairs, given.quick))
    about = machine()
    sys.stdout.write(table(done))
    sys.stdout.write(f"{about['cpu']}, {about['cores']} cores, {about['memory_bytes'] >> 30} GiB, {about['kernel']}, "
                     f"torch {torch.__version__}\n")
    if given.quick:
        sys.stdout.write("quick run: the figures mean nothing\n")
    if given.json:
        report = {"name": "pieces", "machine": about, "quick": given.quick, "rows": [row.as_json() for row in done]}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
