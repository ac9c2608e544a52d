"""None of the known faults of aibrix-kvcache 0.8.0 is here. tests/interop/aibrix/prove.py shows that all are there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROBES = Path(__file__).resolve().parents[3] / "tests" / "interop" / "aibrix"


def _names() -> list[str]:
    listed = subprocess.run([sys.executable, PROBES / "defects.py"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("name", _names())
def test_fault_is_not_there(name: str) -> None:
    if name == "missing_redis_key" and importlib.util.find_spec("redis") is None:
        pytest.skip("the client redis is not installed")
    done = subprocess.run([sys.executable, PROBES / "defects.py", name], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
