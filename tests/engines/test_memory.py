"""A cache that does not fit into the memory that is left is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

import reprise
from reprise.vllm import memory

import harness
from harness import Engine

GIB = 1 << 30


def tree(folder: Path, group: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A /proc with 8 GiB available, and control groups."""
    proc, groups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:  {16 << 20} kB\nMemAvailable:  {8 << 20} kB\n")
    (proc / "self" / "cgroup").write_text(group)
    for name, text in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, groups


@pytest.mark.parametrize(("group", "files", "left"), [
    ("", {}, 8 * GIB),
    ("0::/a/b\n", {"a/memory.max": f"{4 * GIB}\n", "a/memory.current": f"{3 * GIB}\n",
                   "a/memory.stat": f"anon 1\ninactive_file {GIB // 2}\nactive_file {GIB // 2}\n",
                   "a/b/memory.max": "max\n", "a/b/memory.current": "1\n"}, 2 * GIB),
    ("0::/\n", {"memory.max": f"{GIB}\n", "memory.current": f"{2 * GIB}\n"}, 0),
    ("4:memory:/pod\n", {"memory/pod/memory.limit_in_bytes": f"{2 * GIB}\n",
                         "memory/pod/memory.usage_in_bytes": f"{GIB}\n"}, GIB),
    ("4:memory:/not/mounted\n", {"memory/memory.limit_in_bytes": f"{3 * GIB}",
                                 "memory/memory.usage_in_bytes": "0"}, 3 * GIB),
    ("2:cpu:/pod\nstrange\n", {"memory/pod/memory.limit_in_bytes": "1\n"}, 8 * GIB),
])
def test_what_is_left(tmp_path: Path, group: str, files: dict[str, str], left: int) -> None:
    assert memory.available(*tree(tmp_path, group, files)) == left


def test_sizes() -> None:
    assert [memory.size(text) for text in ("4096", "1.5GiB", "2 MB", "64kib")] == [4096, 3 * GIB // 2, 2 * 10**6, 65536]
    assert [memory.size(text) for text in ("", "many", "1..2GiB", ".", "3 apples")] == [0] * 5
    assert memory.available() < 1 << 50  # This machine says something.


def test_an_engine_that_cannot_have_so_much_does_not_start(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VINEYARD_CACHE_CPU_MEM_LIMIT_GB", "100000")
    said = "l1_capacity is 100000.0 GiB for all ranks, but only .* VINEYARD_CACHE_CPU_MEM_LIMIT_GB .* for each rank"
    with pytest.raises(reprise.ConfigError, match=said):
        Engine(model, {}, name="AIBrixOffloadingConnector", module=None)
    harness.clean_up()
