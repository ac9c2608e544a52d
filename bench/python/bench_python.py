#!/usr/bin/env python3
"""The drop-in and the native module against aibrix-kvcache 0.8.0, in one run.

Each side is a process of its own that is told over a pipe to run one round, so the rounds of a pair are adjacent; the
order turns from pair to pair. bench/RESULTS.md says how to read the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs import Goal, Pair, Row
from report import machine, table
from shapes import LONG, LONG_QUICK, WIDE, WIDE_QUICK, Shape

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"


class Child:
    """One side: its process and the pipe to it."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(HERE / "side.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        """RuntimeError with what went wrong there."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that should {do} ended with {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"].strip())
        return reply

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Runner:
    """One kind of round: which process runs it, on which work."""

    child: Child
    method: str

    def seconds(self) -> float:
        return float(self.child.ask(self.method)["seconds"])


@contextmanager
def opened(python: Path, work: str, shape: str, keys: str, copies: bool = False) -> Iterator[Child]:
    child = Child(python)
    try:
        child.ask("open", work=work, shape=shape, keys=keys, copies=copies)
        yield child
    finally:
        child.close()


def measure(pairs: int, ours: Sequence[Runner], limit: Runner) -> list[list[Pair]]:
    """Seconds of each of `ours` against the limit, in the same pairs; the limit once more beside its first run."""
    for runner in (*ours, limit):
        runner.seconds()  # The first touch of everything.
    rows: list[list[Pair]] = [[] for _ in ours]
    for i in range(pairs):
        ours_first = i % 2 == 0
        if ours_first:
            took = [runner.seconds() for runner in ours]
            bound, again = limit.seconds(), limit.seconds()
        else:
            again, bound = limit.seconds(), limit.seconds()
            took = [runner.seconds() for runner in reversed(ours)][::-1]
        for row, seconds in zip(rows, took, strict=True):
            row.append(Pair(seconds, bound, again, ours_first))
    return rows


def scaled(pairs: Sequence[Pair], factor: float) -> list[Pair]:
    """In milliseconds, for instance."""
    return [Pair(p.ours * factor, p.limit * factor, p.limit_again * factor, p.ours_first) for p in pairs]


def rates(pairs: Sequence[Pair], nbytes: int) -> list[Pair]:
    """Seconds as MB/s."""
    rate = nbytes / 1e6
    return [Pair(rate / p.ours, rate / p.limit, rate / p.limit_again, p.ours_first) for p in pairs]


class Bench:
    def __init__(self, ours: Path, upstream: Path, pairs: int, quick: bool) -> None:
        self.ours, self.upstream, self.pairs = ours, upstream, pairs
        self.long, self.wide = ("LONG_QUICK", "WIDE_QUICK") if quick else ("LONG", "WIDE")
        self.long_shape: Shape = LONG_QUICK if quick else LONG
        self.wide_shape: Shape = WIDE_QUICK if quick else WIDE

    def run(self) -> Iterator[Row]:
        names = {"tokens": "token lists", "hashes": "block hashes"}
        for keys, bar in (("tokens", 1 / 100), ("hashes", 1 / 8)):
            yield from self.against("chunked acquire", names[keys], keys, "acquire", "acquire", bar)
        for keys in ("tokens", "hashes"):
            what = "chunked acquire, a tensor a block"
            yield from self.against(what, names[keys], keys, "acquire_tensors", None, None)
        for keys in ("tokens", "hashes"):
            yield from self.against("put", names[keys], keys, "put", "put", 1 / 5)
        yield from self.copies("drop-in", self.ours, "aibrix", "get", 0.85)
        yield from self.copies("drop-in", self.ours, "aibrix", "acquire_copy", 0.85)
        yield from self.copies("native", self.ours, "native", "get", 0.85)
        yield from self.copies("aibrix-kvcache 0.8.0", self.upstream, "aibrix", "get", None)
        yield from self.copies("aibrix-kvcache 0.8.0", self.upstream, "aibrix", "acquire_copy", None)

    def against(
        self, what: str, keyed: str, keys: str, method: str, native: str | None, bar: float | None
    ) -> Iterator[Row]:
        """The drop-in and the native module against the original, and one against the other."""
        case = f"{what}, {self.long_shape.tokens:,} tokens, {keyed}"
        goal = Goal("ratio <=", bar) if bar else Goal()
        rows = [Row(f"{case}: drop-in", "ms", goal)]
        if native:
            rows.append(Row(f"{case}: native, one call", "ms", Goal()))
        try:
            with (
                opened(self.ours, "aibrix", self.long, keys) as dropin,
                opened(self.ours, "native", self.long, keys) as core,
                opened(self.upstream, "aibrix", self.long, keys) as original,
            ):
                ours = [Runner(dropin, method)] + ([Runner(core, native)] if native else [])
                measured = measure(self.pairs, ours, Runner(original, method))
            for row, pairs in zip(rows, measured, strict=True):
                row.pairs = scaled(pairs, 1e3)
        except RuntimeError as error:
            for row in rows:
                row.error = str(error)
        yield from rows

    def copies(self, who: str, python: Path, work: str, method: str, bar: float | None) -> Iterator[Row]:
        """Against numpy's copy in the same process."""
        shape = self.wide_shape
        how = {"get": "get", "acquire_copy": "acquire and copy"}[method]
        row = Row(f"{how} 2 MiB x {shape.blocks}: {who}", "MB/s", Goal("ratio >=", bar) if bar else Goal())
        try:
            with opened(python, work, self.wide, "tokens", copies=True) as child:
                measured = measure(self.pairs, [Runner(child, method)], Runner(child, "copy"))
            row.pairs = rates(measured[0], shape.blocks * shape.block_bytes * shape.prompts)
        except RuntimeError as error:
            row.error = str(error)
        yield row


def newest_wheel_test() -> Path:
    """Where ./dev wheel installed ours last."""
    found = sorted(BUILD.glob("wheel-test-*/bin/python"), key=lambda path: path.lstat().st_mtime)
    return found[-1] if found else BUILD / "wheel-test-3.11/bin/python"


def versions(python: Path) -> str:
    code = (
        "from importlib import metadata as m\n"
        "names = ('aibrix-kvcache', 'reprise-kv-aibrix', 'reprise-kv', 'torch', 'numpy')\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "print(', '.join(f'{n} {found[n]}' for n in names if n in found))"
    )
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything, every run too, here")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="small sizes and three pairs: the figures mean nothing")
    parser.add_argument("--ours", type=Path, default=newest_wheel_test(), help="an interpreter with ours")
    parser.add_argument("--upstream", type=Path, default=BUILD / "upstream-env/bin/python", help="... with 0.8.0")
    given = parser.parse_args()
    for python, how in ((given.ours, "./dev wheel"), (given.upstream, "tests/interop/aibrix/prove.py --install")):
        if not python.exists():
            sys.stderr.write(f"there is no {python}: run {how}\n")
            return 2
    rows: list[Row] = []
    for row in Bench(given.ours, given.upstream, 3 if given.quick else given.pairs, given.quick).run():
        rows.append(row)
        sys.stderr.write(f"{row.case}: {'failed' if row.error else 'done'}\n")
    notes = {"ours": versions(given.ours), "limit of the first rows": versions(given.upstream)}
    report = {"name": "python", "machine": machine(), "quick": given.quick, "notes": notes}
    about = report["machine"]
    sys.stdout.write(table(rows))
    sys.stdout.write(f"{about['cpu']}, {about['cores']} cores, {about['memory_bytes'] >> 30} GiB, {about['kernel']}\n")
    sys.stdout.writelines(f"{name}: {note}\n" for name, note in notes.items())
    if given.quick:
        sys.stdout.write("quick run: the figures mean nothing\n")
    if given.json:
        given.json.write_text(json.dumps(report | {"rows": [row.as_json() for row in rows]}, indent=1) + "\n")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
