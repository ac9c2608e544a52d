"""How much memory is left for a cache: of the machine, and of the container this process is in."""

from __future__ import annotations

import re
from pathlib import Path

from .._errors import ConfigError

_UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
          "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def check(capacity: str, left: int) -> None:
    """ConfigError if a cache of that size, as it fills, would have processes killed where `left` bytes are left."""
    wanted = size(capacity)
    if wanted > left:
        raise ConfigError(f"l1_capacity is {wanted / 2**30:.1f} GiB for all ranks, but only {left / 2**30:.1f} GiB are "
                          "left of this machine's memory, or of the container's. Set it to less "
                          "(AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB and VINEYARD_CACHE_CPU_MEM_LIMIT_GB are for each "
                          "rank), give the container more, or let engines share a daemon (cache_url)")


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can still be had without anything being killed for them; a very large number if nobody says."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(proc / "meminfo"), re.MULTILINE)
    left = int(found.group(1)) << 10 if found else 1 << 62
    for folder in _groups_of(_text(proc / "self" / "cgroup"), cgroups):
        left = min(left, _left_in(folder))
    return left


def size(text: str) -> int:
    """Bytes of `4096`, `256MiB` or `2GB`; 0 for what is none."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", text)
    if not found or found.group(1).count(".") > 1 or found.group(1) == ".":
        return 0
    return int(float(found.group(1)) * _UNITS.get(found.group(2).upper() or "B", 0))


def _groups_of(told: str, cgroups: Path) -> list[Path]:
    """This process's control group and all above it, of both versions: a limit counts wherever it is set."""
    folders: list[Path] = []
    for line in told.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        top = cgroups / "memory" if controllers else cgroups
        below = [part for part in path.split("/") if part not in ("", "..")]
        folders += [top.joinpath(*below[:n]) for n in range(len(below) + 1)]
    return folders


def _left_in(folder: Path) -> int:
    """The limit less what is in use; the page cache goes when room is needed."""
    for limit, usage, prefix in (("memory.max", "memory.current", ""),
                                 ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")):
        most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
        if most.isdecimal() and used.isdecimal():
            files = re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            return max(0, int(most) - int(used) + sum(map(int, files)))
    return 1 << 62


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
