"""Two engines, a process each, and one daemon: the second finds what the first stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import PREFIX, gib

import reprise

HERE = Path(__file__).parent
LIMIT = 120


@pytest.fixture
def daemon(tmp_path):
    """URL of a daemon of this test's own."""
    path = tmp_path / "s"
    command = [sys.executable, "-m", "reprise", "serve", "--listen-unix", str(path), "--listen-admin", ""]
    process = subprocess.Popen([*command, "--l1-capacity", "16MiB"], stderr=subprocess.PIPE, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "the daemon does not listen"
            time.sleep(0.01)
        yield f"unix://{path}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.stderr.close()


def run(program: str, *arguments: str, **env: object) -> str:
    wanted = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    wanted |= {PREFIX + name: str(value) for name, value in env.items()}
    ended = subprocess.run(
        [sys.executable, HERE / program, *arguments], env=wanted, timeout=LIMIT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def run_engine(*calls: str, **env: object) -> list[list]:
    settings = {
        "L2_CACHE_BACKEND": "REPRISE",
        "L2_CACHE_INGESTION_TYPE": "ALL",
        "L2_CACHE_PER_TOKEN_TIMEOUT_MS": 2000,
        "L1_CACHE_CAPACITY_GB": gib(1 << 20),
    }
    return [json.loads(line) for line in run("engine_process.py", *calls, **settings, **env).splitlines()]


def test_two_engines_with_memory_of_their_own(daemon):
    """68 tokens by their ids, 40 by block hashes."""
    assert run_engine("store", REPRISE_URL=daemon) == [[0, 0, 68, 40, 68, 40, "OK"]]
    assert run_engine("load", "load-l2", REPRISE_URL=daemon) == [[68, 40], [68, 40]]
    with reprise.Cache.open(daemon) as cache:
        assert cache.stats().l1.blocks == 27


def test_two_engines_over_the_native_interface(daemon):
    assert [run("native_process.py", call, daemon) for call in ("load", "store", "load")] == ["0", "17", "17"]


def test_an_engine_without_its_daemon(tmp_path):
    """Away is no error: the engine has its own memory, and nothing else."""
    url = f"unix://{tmp_path / 'nobody'}"
    answers = run_engine("store", "load", REPRISE_URL=url)
    assert answers == [["ERROR", "ERROR", 68, 40, 68, 40, "ERROR"], ["ERROR", "ERROR"]]
