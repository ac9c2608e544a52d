"""One side of the pairs: a process that runs one round whenever a line on its standard input asks for it.

A line in: {"do": "open", "work": "aibrix" | "native", "shape": NAME, "keys": "tokens" | "hashes"}, {"do": "close"}, or
{"do": METHOD} of the work that is open. A line out: {"seconds": ...}, {} or {"error": ...}.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
import traceback
from typing import Any

import shapes
from shapes import Shape


class Copies:
    """The limit of the reads: numpy's copy of as many bytes, between arrays of this process, in the same order."""

    def __init__(self, shape: Shape) -> None:
        import numpy as np

        size = (shape.blocks, shape.block_bytes)
        self._from = [np.full(size, i + 1, np.uint8) for i in range(shape.prompts)]
        self._to = [np.full(size, 255, np.uint8) for _ in range(shape.prompts)]

    def copy(self) -> float:
        import numpy as np

        start = time.perf_counter()
        for source, target in zip(self._from, self._to, strict=True):
            for block, into in zip(source, target, strict=True):
                np.copyto(into, block)
        return time.perf_counter() - start


class Side:
    def __init__(self) -> None:
        self._work: Any = None
        self._copies: Copies | None = None

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "open":
            shape: Shape = getattr(shapes, order["shape"])
            if order["work"] == "aibrix":
                from aibrix_work import AibrixWork as Work
            else:
                from native_work import NativeWork as Work  # type: ignore[assignment]
            self._work = Work(shape, order["keys"])
            self._work.fill()
            self._copies = Copies(shape) if order.get("copies") else None
            return {}
        if order["do"] == "close":
            self._work.close()
            self._work = self._copies = None
            gc.collect()
            return {}
        target = self._copies if order["do"] == "copy" else self._work
        gc.collect()
        return {"seconds": getattr(target, order["do"])()}


def main() -> None:
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Whatever a library prints does not get between the answers.
    side = Side()
    for line in sys.stdin:
        try:
            reply = side.answer(json.loads(line))
        except Exception:
            reply = {"error": traceback.format_exc(limit=-3)}
        out.write(json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
