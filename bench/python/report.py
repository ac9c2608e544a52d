"""Rows as a table for people, in the form of the drivers in C++, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from pairs import Row

HEAD = ("case", "value", "unit", "limit", "ratio", "A/A quartiles", "goal", "verdict")
_LEFT = (0, 2, 6, 7)


def figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def cells(row: Row) -> list[str]:
    if row.error:
        return [row.case, "failed", row.unit, "-", "-", "-", row.goal.text(), row.error.splitlines()[-1]]
    s = row.summary()
    verdict = {None: "", True: "holds", False: "MISSED"}[row.holds()]
    quartiles = f"{figure(s['aa_low'])}..{figure(s['aa_high'])}"
    return [row.case, figure(s["value"]), row.unit, figure(s["limit"]), figure(s["ratio"]), quartiles,
            row.goal.text(), verdict]  # fmt: skip


def table(rows: list[Row]) -> str:
    lines = [list(HEAD), *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    text = []
    for line in lines:
        padded = [c.ljust(w) if i in _LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        text.append("  ".join(padded).rstrip())
    return "\n".join(text) + "\n"


def machine() -> dict[str, Any]:
    """Keys as in the reports of the drivers in C++."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    caches = [_bytes(path) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "llc_bytes": max(caches, default=0),
        "kernel": f"Linux {platform.release()}",
        "card": "none",
    }


def _bytes(path: Path) -> int:
    text = path.read_text().strip()
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]
