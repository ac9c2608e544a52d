"""The arithmetic of a claim about speed, as bench/harness/stats.h has it for the drivers in C++."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What a row is asked to reach: `kind` is "ratio >=" or "ratio <=" with a bar, or "" for nothing."""

    kind: str = ""
    bar: float = 0.0

    def text(self) -> str:
        return f"{self.kind} {self.bar:g}" if self.kind else ""


@dataclass(frozen=True)
class Pair:
    """One adjacent pair, with the limit's second run beside its first; in the row's unit."""

    ours: float
    limit: float
    limit_again: float
    ours_first: bool


@dataclass
class Row:
    """One line of the table. `error` instead of pairs where the case failed."""

    case: str
    unit: str
    goal: Goal
    pairs: list[Pair] = field(default_factory=list)
    error: str = ""

    def summary(self) -> dict[str, float | None]:
        """Medians of ours, of the limit and of their ratio pair by pair; quartiles of the limit against itself."""
        if not self.pairs or self.error:
            return dict.fromkeys(("value", "limit", "ratio", "aa_low", "aa_high"))
        itself = [pair.limit_again / pair.limit for pair in self.pairs]
        return {
            "value": statistics.median(pair.ours for pair in self.pairs),
            "limit": statistics.median(pair.limit for pair in self.pairs),
            "ratio": statistics.median(pair.ours / pair.limit for pair in self.pairs),
            "aa_low": quantile(itself, 0.25),
            "aa_high": quantile(itself, 0.75),
        }

    def holds(self) -> bool | None:
        """A floor holds if the median ratio reaches bar x the lower A/A quartile, a ceiling if bar x the upper."""
        s = self.summary()
        if not self.goal.kind:
            return None
        if self.error or s["ratio"] is None or s["aa_low"] is None or s["aa_high"] is None:
            return False
        if self.goal.kind == "ratio >=":
            return s["ratio"] >= self.goal.bar * s["aa_low"]
        return s["ratio"] <= self.goal.bar * s["aa_high"]

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"case": self.case, "unit": self.unit, **self.summary(), "p50_us": None, "p99_us": None}
        row |= {"goal": self.goal.text(), "holds": self.holds(), "runs": [vars(pair) for pair in self.pairs]}
        return row | ({"error": self.error} if self.error else {})


def quantile(values: Sequence[float], q: float) -> float:
    """Interpolated between neighbours. REQUIRES: at least one value."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])
