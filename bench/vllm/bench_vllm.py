#!/usr/bin/env python3
"""Time to the first token in a real vLLM on a CPU: from Reprise's memory, beside computing and vLLM's own prefix cache.

Two engines of one random model, each in a process with one thread: one with the connector, one without. Each prompt is
asked for in a row: computed by the engine without, twice; from Reprise; from the prefix cache of the engine without,
twice; every other time in the opposite order. Then once more in the engine with the connector alone: from Reprise, and
from its own prefix cache, twice; and the other way round. Two processes differ by more than what they do (where their
memory lies), so that the latter is the steadier comparison. What is measured is a request for one token, alone.
bench/RESULTS.md says how to read the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "bench/python"), str(TREE / "tests/engines")]

from pairs import Goal, Pair, Row  # noqa: E402
from report import machine, table  # noqa: E402

import harness  # noqa: E402
import tiny_model  # noqa: E402

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"  # Read when vLLM is imported, which the harness does late.
Prompt = list[int]
# Asked before each one that is measured: the engine that waited for the other is not just awoken then. Shorter than
# a block, so that it is found nowhere.
NUDGE = list(range(3, 3 + harness.BLOCK // 2))
WARM_UP = 2  # Prompts whose times are not taken.
LONG_ENOUGH = 300.0  # Milliseconds that the larger model should compute for, or the figures say little.


@dataclass(frozen=True)
class Size:
    """A model, and prompts for it."""

    layers: int
    tokens: int

    def text(self) -> str:
        return f"{self.layers} layers, {self.tokens} tokens"


class Asked:
    """An engine, asked for one token at a time."""

    def __init__(self, engine: harness.Engine) -> None:
        self._engine = engine

    def forget(self) -> None:
        self._engine.forget()

    def milliseconds(self, prompt: Prompt, cached: int) -> float:
        """Until the first token; `cached` tokens of the prompt must have come from a cache."""
        self._ask(NUDGE)
        began = time.perf_counter()
        output = self._ask(prompt)
        took = time.perf_counter() - began
        if output.num_cached_tokens != cached:
            raise RuntimeError(f"{output.num_cached_tokens} tokens came from a cache, not {cached}")
        return took * 1e3

    def _ask(self, prompt: Prompt) -> Any:
        return self._engine.llm.generate([{"prompt_token_ids": prompt}], harness.sampling(1), use_tqdm=False)[0]


class Away:
    """The same in another process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def forget(self) -> None:
        self._call("forget")

    def milliseconds(self, prompt: Prompt, cached: int) -> float:
        took = self._call("milliseconds", prompt, cached)
        assert isinstance(took, float)
        return took

    def _call(self, *order: Any) -> Any:
        self._pipe.send(order)
        if not self._pipe.poll(600):
            raise RuntimeError("the engine without Reprise does not answer")
        good, said = self._pipe.recv()
        if not good:
            raise RuntimeError(f"the engine without Reprise: {said}")
        return said


def engine_of(model: Path, extra: dict[str, Any] | None) -> harness.Engine:
    return harness.Engine(model, extra, max_model_len=4096, max_num_batched_tokens=4096)


def serve_without(model: Path, pipe: Connection) -> None:
    """What the other process does, until it is told None."""
    with engine_of(model, None) as engine:
        asked = Asked(engine)
        pipe.send((True, "ready"))
        while (order := pipe.recv()) is not None:
            try:
                pipe.send((True, getattr(asked, order[0])(*order[1:])))
            except Exception as error:
                pipe.send((False, repr(error)))


@contextmanager
def engine_without(model: Path) -> Iterator[Away]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_without, args=(model, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(600) or ours.recv() != (True, "ready"):
            raise RuntimeError("the engine without Reprise did not start")
        yield Away(ours)
        ours.send(None)
        process.join(60)
    finally:
        process.kill()
        process.join()


class Duel:
    """The two engines over the same prompts."""

    def __init__(self, ours: Asked, without: Away, prompts: list[Prompt]) -> None:
        self._ours, self._without, self._prompts = ours, without, prompts
        self._ideal = harness.ideal(prompts[:1])

    def storing(self) -> list[Pair]:
        """Computing with Reprise, which stores all of it, against computing without; every prompt is stored then."""
        pairs = []
        for i, prompt in enumerate(self._prompts):
            first = i % 2 == 0
            ours = self._store(prompt) if first else 0.0
            limit, again = self._computed(prompt), self._computed(prompt)
            if not first:
                ours, limit, again = self._store(prompt), again, limit
            pairs.append(Pair(ours, limit, again, first))
        return pairs[WARM_UP:]

    def fetching(self) -> tuple[list[Pair], list[Pair]]:
        """From Reprise against a hit of vLLM's own, and against computing."""
        hits, colds = [], []
        for i, prompt in enumerate(self._prompts):
            if i % 2 == 0:
                cold_again, cold = self._computed(prompt), self._computed(prompt)
                fetched = self._fetched(prompt)
                own, own_again = self._own(prompt), self._own(prompt)
            else:
                self._computed(prompt)  # So that it is in vLLM's own cache.
                own_again, own = self._own(prompt), self._own(prompt)
                fetched = self._fetched(prompt)
                cold, cold_again = self._computed(prompt), self._computed(prompt)
            hits.append(Pair(fetched, own, own_again, i % 2 == 0))
            colds.append(Pair(fetched, cold, cold_again, i % 2 == 1))
        return hits[WARM_UP:], colds[WARM_UP:]

    def inside(self) -> list[Pair]:
        """From Reprise against a hit of vLLM's own in the same engine."""
        pairs = []
        for i, prompt in enumerate(self._prompts):
            first = i % 2 == 0
            if not first:
                self._fetched(prompt)  # So that it is in vLLM's own cache.
            else:
                fetched = self._fetched(prompt)
            own, own_again = (self._ours.milliseconds(prompt, self._ideal) for _ in range(2))
            if not first:
                fetched, own, own_again = self._fetched(prompt), own_again, own
            pairs.append(Pair(fetched, own, own_again, first))
        return pairs[WARM_UP:]

    def _store(self, prompt: Prompt) -> float:
        self._ours.forget()
        return self._ours.milliseconds(prompt, 0)

    def _fetched(self, prompt: Prompt) -> float:
        self._ours.forget()
        return self._ours.milliseconds(prompt, self._ideal)

    def _computed(self, prompt: Prompt) -> float:
        self._without.forget()
        return self._without.milliseconds(prompt, 0)

    def _own(self, prompt: Prompt) -> float:
        return self._without.milliseconds(prompt, self._ideal)


def rows_of(size: Size, requests: int, folder: Path) -> list[Row]:
    rows = [Row(f"computed and stored against computed, {size.text()}", "ms", Goal()),
            Row(f"from Reprise against vLLM's own prefix cache, {size.text()}", "ms", Goal("ratio <=", 1.25)),
            Row(f"from Reprise against computed, {size.text()}", "ms", Goal("ratio <=", 0.5)),
            Row(f"from Reprise against the same engine's prefix cache, {size.text()}", "ms", Goal("ratio <=", 1.25))]
    model = tiny_model.make(folder / f"model-{size.layers}", size.layers)
    prompts = harness.prompts_of(*[size.tokens] * (requests + WARM_UP), seed=3)
    try:
        with engine_without(model) as without, engine_of(
                model, {"l1_capacity": "3GiB", "strict": True, **harness.PATIENT}) as engine:
            duel = Duel(Asked(engine), without, prompts)
            rows[0].pairs = duel.storing()
            rows[1].pairs, rows[2].pairs = duel.fetching()
            rows[3].pairs = duel.inside()
    except (RuntimeError, OSError, AssertionError) as error:
        for row in rows:
            row.error = str(error) or type(error).__name__
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything, every run too, here")
    parser.add_argument("--requests", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--sizes", default="12x2000,24x3500", help="LAYERSxTOKENS, ... (default: 12x2000,24x3500)")
    parser.add_argument("--quick", action="store_true", help="one small size, two requests: the figures mean nothing")
    given = parser.parse_args()
    sizes = [Size(*map(int, word.split("x"))) for word in ("3x600" if given.quick else given.sizes).split(",")]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="reprise-vllm-") as folder:
        for size in sizes:
            rows += rows_of(size, 2 if given.quick else given.requests, Path(folder))
            sys.stderr.write(f"{size.text()}: {'failed' if rows[-1].error else 'done'}\n")
    about = machine()
    sys.stdout.write(table(rows))
    sys.stdout.write(f"{about['cpu']}, {about['cores']} cores, {about['memory_bytes'] >> 30} GiB, {about['kernel']}\n")
    computed = statistics.median(pair.limit for pair in rows[-1].pairs) if rows[-1].pairs else 0.0
    if given.quick:
        sys.stdout.write("quick run: the figures mean nothing\n")
    elif computed < LONG_ENOUGH:
        sys.stdout.write(f"the last size is computed in {computed:.0f} ms, less than {LONG_ENOUGH:.0f}: give --sizes\n")
    if given.json:
        report = {"name": "vllm", "machine": about, "quick": given.quick, "requests": given.requests,
                  "limit": "vLLM without a connector", "rows": [row.as_json() for row in rows]}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
