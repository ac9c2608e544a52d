"""What tests share: a namespace, blocks that can be told apart, and a real daemon."""

import importlib.util
import os
import re
import signal
import subprocess
import sys

import pytest

import reprise

BLOCK = 4096
# The package does not need torch, and CI does not install half a gigabyte for it.
collect_ignore = [] if importlib.util.find_spec("torch") else ["test_torch.py"]


def make_namespace(**changes):
    fields = dict(model="m", revision="none", dtype="bfloat16", layout="test", block_tokens=4, block_bytes=BLOCK,
                  layers=range(0, 2), heads=range(0, 8), salt="")
    return reprise.Namespace(**{**fields, **changes})


def block(i):
    return bytes([i % 251 + 1]) * BLOCK


def make_chain(blocks, ns=None, first=0, **more):
    return reprise.Chain.from_tokens(ns or make_namespace(), range(first, first + 4 * blocks), **more)


@pytest.fixture
def cache():
    with reprise.Cache.open("embedded:", l1_capacity="4MiB", l1_policy="lru", l1_populate=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def daemons(tmp_path_factory):
    """URLs of one daemon, on a Unix socket and over TCP; it is told to end by its pid."""
    folder = tmp_path_factory.mktemp("daemon")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REPRISE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "reprise", "serve", "--listen-unix", str(folder / "s.sock"),
         "--listen-tcp", "127.0.0.1:0", "--listen-admin", "", "--l1-capacity", "4MiB", "--l1-policy", "lru"],
        cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        # What it listens on is said once it does.
        lines = process.stderr.readline() + process.stderr.readline()
        port = re.search(r"listening on tcp 127\.0\.0\.1:(\d+)", lines)
        assert port and (folder / "s.sock").exists(), lines + process.stderr.read()
        yield {"unix": f"unix://{folder}/s.sock", "tcp": f"tcp://127.0.0.1:{port[1]}"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        assert process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def daemon(daemons):
    return daemons["unix"]


@pytest.fixture(params=["embedded", "daemon"])
def any_cache(request):
    if request.param == "embedded":
        yield request.getfixturevalue("cache")
    else:
        with reprise.Cache.open(request.getfixturevalue("daemon")) as opened:
            yield opened
