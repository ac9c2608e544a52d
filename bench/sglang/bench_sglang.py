#!/usr/bin/env python3
"""Pages of SGLang's host pool to a storage backend and back: Reprise against SGLang's own `file` backend, in one run.

Both are driven by SGLang's cache controller, by the functions its storage threads call for a batch of pages; what is
compared is therefore all of the work, the copying that SGLang does itself for `file` included. The files are in a
folder of the temporary directory, and stay in the page cache: `file` at its best. bench/RESULTS.md says how to read the
table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "bench/python"), str(TREE / "tests/engines/hicache")]

import torch  # noqa: E402
from pairs import Goal, Pair, Row  # noqa: E402
from report import machine, table  # noqa: E402
from sglang.srt.managers.cache_controller import PrefetchOperation  # noqa: E402

from sglang_pools import controller, dynamic, indices, mha_pool, page_bytes, page_keys  # noqa: E402

PAGE = 16
MODEL = {"layers": 32, "heads": 8, "dim": 128}  # Of an 8B model with grouped queries: 2 MiB a page of 16 tokens.


class Side:
    """One backend over one pool: the first half of the pool is written, the second half read into."""

    def __init__(self, layout: str, pages: int, backend: str, extra: dict[str, Any]) -> None:
        self.pages = pages
        self.pool = mha_pool(layout, pages=2 * pages, page=PAGE, **MODEL)
        self.control = controller(self.pool, backend, extra)
        self._from, self._to = indices(*range(pages)), indices(*range(pages, 2 * pages))
        self._operation = PrefetchOperation("bench", [])
        self._keys: list[str] = []

    def store(self) -> float:
        """Seconds for a batch of pages that is not there yet."""
        self._keys = page_keys(self.pages, seed=os.urandom(8))
        began = time.perf_counter()
        stored = self.control.page_set_func(self._keys, self._from)
        took = time.perf_counter() - began
        if not stored:
            raise RuntimeError("not everything was stored")
        return took

    def load(self) -> float:
        """Seconds for the batch that was stored last."""
        began = time.perf_counter()
        count = self.control.page_get_func(self._operation, self._keys, self._to)
        took = time.perf_counter() - began
        if count != self.pages:
            raise RuntimeError(f"{count} of {self.pages} pages came back")
        return took

    def check(self) -> None:
        for at in range(self.pages):
            if not torch.equal(page_bytes(self.pool, at * PAGE), page_bytes(self.pool, (self.pages + at) * PAGE)):
                raise RuntimeError(f"page {at} came back with other bytes")

    def close(self) -> None:
        self.control.detach_storage_backend()


class Files(Side):
    def __init__(self, layout: str, pages: int, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(layout, pages, "file", {"file_storage_path": str(folder)})
        self._folder = folder

    def store(self) -> float:
        for file in self._folder.iterdir():
            file.unlink()
        return super().store()


def measure(pairs: int, ours: Side, limit: Side) -> tuple[list[Pair], list[Pair]]:
    """Seconds of storing and of loading, pair by pair, in turns; the limit once more beside its first run."""
    for side in (ours, limit):
        side.store()
        side.load()
        side.check()
    rows: tuple[list[Pair], list[Pair]] = ([], [])
    for i in range(pairs):
        ours_first = i % 2 == 0
        sides = (ours, limit, limit) if ours_first else (limit, limit, ours)
        took = [(side.store(), side.load()) for side in sides]
        if not ours_first:
            took.reverse()
        for row, (a, b, c) in zip(rows, zip(*took, strict=True), strict=True):
            row.append(Pair(a, b, c, ours_first))
    ours.check()
    return rows


def rates(pairs: list[Pair], nbytes: int) -> list[Pair]:
    rate = nbytes / 1e6
    return [Pair(rate / p.ours, rate / p.limit, rate / p.limit_again, p.ours_first) for p in pairs]


def case(layout: str, where: str, pages: int, pairs: int, folder: Path, extra: dict[str, Any]) -> Iterator[Row]:
    rows = [Row(f"{what} {pages} pages of 2 MiB, {layout}, {where}", "MB/s", Goal("ratio >=", 3))
            for what in ("store", "load")]
    try:
        with ExitStack() as stack:
            sides: list[Side] = []
            makers: list[Callable[[], Side]] = [lambda: Side(layout, pages, "dynamic", dynamic(**extra)),
                                                lambda: Files(layout, pages, folder / "files")]
            for make in makers:
                sides.append(make())
                stack.callback(sides[-1].close)
            nbytes = pages * page_bytes(sides[0].pool, 0).nbytes
            for row, measured in zip(rows, measure(pairs, *sides), strict=True):
                row.pairs = rates(measured, nbytes)
    except (RuntimeError, OSError) as error:
        for row in rows:
            row.error = str(error)
    shutil.rmtree(folder / "files", ignore_errors=True)
    yield from rows


class Daemon:
    def __init__(self, folder: Path, capacity: str) -> None:
        self.url = f"unix://{folder}/s.sock"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reprise", "serve", "--listen-unix", f"{folder}/s.sock", "--listen-admin", "",
             "--l1-capacity", capacity], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        self._process.stderr.readline()  # Where it listens is said once it does.

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything, every run too, here")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="few pages and three pairs: the figures mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)  # SGLang's ranks share the cores; with more, the threads wait for one another here.
    pages, pairs = (8, 3) if given.quick else (128, given.pairs)
    capacity = f"{pages * 2 * 5}MiB"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="reprise-sglang-") as name, ExitStack() as stack:
        folder = Path(name)
        daemon = Daemon(folder, capacity)
        stack.callback(daemon.close)
        for layout in ("page_first", "layer_first"):
            for where, extra in (("own memory", {"l1_capacity": capacity}), ("a daemon", {"cache_url": daemon.url})):
                for row in case(layout, where, pages, pairs, folder, extra):
                    rows.append(row)
                    sys.stderr.write(f"{row.case}: {'failed' if row.error else 'done'}\n")
    about = machine()
    report = {"name": "sglang", "machine": about, "quick": given.quick, "limit": "SGLang's file backend",
              "rows": [row.as_json() for row in rows]}
    sys.stdout.write(table(rows))
    sys.stdout.write(f"{about['cpu']}, {about['cores']} cores, {about['memory_bytes'] >> 30} GiB, {about['kernel']}\n")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
