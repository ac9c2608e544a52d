"""What tests share: a namespace, blocks that can be told apart, and a real daemon."""

import os
import signal
import subprocess
import sys

import pytest

import reprise

BLOCK = 4096


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
def daemon(tmp_path_factory):
    """URL of a daemon on a Unix socket; it is told to end by its pid."""
    folder = tmp_path_factory.mktemp("daemon")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REPRISE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "reprise", "serve", "--listen-unix", str(folder / "s.sock"), "--listen-admin", "",
         "--l1-capacity", "4MiB", "--l1-policy", "lru"],
        cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()  # What it listens on is said once it does.
        assert (folder / "s.sock").exists(), line + process.stderr.read()
        yield f"unix://{folder}/s.sock"
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        assert process.wait(timeout=30) == 0


@pytest.fixture(params=["embedded", "daemon"])
def any_cache(request):
    if request.param == "embedded":
        yield request.getfixturevalue("cache")
    else:
        with reprise.Cache.open(request.getfixturevalue("daemon")) as opened:
            yield opened
