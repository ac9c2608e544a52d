"""One engine through everything that may happen to the cache behind it: each request is answered, and rightly.

It is attached to a socket at which each test starts a daemon of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import reprise

import harness
from harness import BLOCK, PATIENT, Answer, Daemon, Engine, ideal, prompts_of, worker

Baseline = Callable[..., list[Answer]]
PROMPTS = prompts_of(300, 320, 500)
WAYS = (None, 0)  # Within the steps, and beside them.


class Bench:
    """The engine, and the folder of its socket."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder

    @property
    def cache(self) -> reprise.Cache:
        """The scheduler's way to it."""
        cache: reprise.Cache = self.engine.connector._scheduler._lookup._cache
        return cache

    @contextmanager
    def daemon(self, *flags: str, under: tuple[str, ...] = ()) -> Iterator[Daemon]:
        """Starts one, and waits until both halves of the connector have found it."""
        with Daemon(self.folder, "--l1-capacity", "256MiB", *flags, under=under) as daemon:
            for cache in (self.cache, worker()._open(self.engine.connector._scheduler._home)):
                harness.eventually(lambda cache=cache: cache.flush(timeout=1.0), "the daemon is found")
            yield daemon


@pytest.fixture(scope="module")
def bench(model: Path, baseline: Baseline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    baseline(PROMPTS)  # There is one engine at a time in a process.
    folder = tmp_path_factory.mktemp("home")
    with Engine(model, {"cache_url": f"unix://{folder}/reprise.sock", **PATIENT}) as engine:
        yield Bench(engine, folder)


@pytest.mark.parametrize("park_above", WAYS)
def test_damage_would_be_seen_and_is_not_given_out(bench: Bench, baseline: Baseline, tmp_path: Path,
                                                   park_above: int | None) -> None:
    """The disk tier verifies what it reads. Where it is told not to, one byte changes what comes out."""
    engine, expected = bench.engine, baseline(PROMPTS)
    engine.park(park_above)
    with bench.daemon("--l2-url", f"disk:{tmp_path}/disk?capacity=256MiB") as daemon:
        assert engine.ask(PROMPTS) == expected
        with watch(engine) as watched:
            engine.ask(PROMPTS[:1])
        with bench.cache.acquire(watched.chains, timeout=10) as lease:
            third = bytes(lease[2])
        daemon.stop()
    flip_byte(tmp_path / "disk", third)
    shutil.copytree(tmp_path / "disk", tmp_path / "unverified")

    with bench.daemon("--l2-url", f"disk:{tmp_path}/unverified?capacity=256MiB&unverified=for-tests"):
        wrong = engine.ask(PROMPTS)
        assert wrong[0] != expected[0]
        assert wrong[1:] == expected[1:]

    with bench.daemon("--l2-url", f"disk:{tmp_path}/disk?capacity=256MiB"), watch(engine) as watched:
        assert engine.ask(PROMPTS[:1]) == expected[:1]
        assert max(watched.promised) == 2 * BLOCK  # The third block is not even promised.
        assert bench.cache.stats().l2.corrupt == 1
        answers = engine.ask(PROMPTS)
        assert answers == expected
        assert sum(a.cached for a in answers) >= 0.98 * ideal(PROMPTS)  # It is stored anew.
        assert bench.cache.stats().l2.corrupt == 1


@pytest.mark.parametrize("tier", ["disk:{}/disk?capacity=64MiB&segment=512KiB", "fs:{}/files"])
def test_a_disk_that_is_full(bench: Bench, baseline: Baseline, tmp_path: Path, tier: str) -> None:
    """Of 1 MiB, in a file system of its own: the prompts have more."""
    engine, expected = bench.engine, baseline(PROMPTS)
    mount = ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=1m small {tmp_path} && exec "$0" "$@"')
    if subprocess.run([*mount, "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    with bench.daemon("--l2-url", tier.format(tmp_path), under=mount):
        for park_above in WAYS:
            engine.park(park_above)
            assert engine.ask(PROMPTS, at_once=True) == expected
            harness.eventually(lambda: full(bench.cache.stats().l2), "the disk is full")
            answers = engine.ask(PROMPTS)
            assert answers == expected
            assert sum(a.cached for a in answers) >= 0.98 * ideal(PROMPTS)  # From memory.
            engine.forget(connector=True)  # And once more.


@pytest.mark.parametrize("park_above", WAYS)
def test_a_tier_that_hangs(bench: Bench, baseline: Baseline, monkeypatch: pytest.MonkeyPatch,
                           park_above: int | None) -> None:
    """Whoever waited for it without a deadline would wait for an hour."""
    engine, expected = bench.engine, baseline(PROMPTS)
    lookup = engine.connector._scheduler._lookup
    monkeypatch.setattr(lookup, "_timeout", 0.2)
    monkeypatch.setattr(lookup, "_fetch_timeout", 0.5)
    engine.park(park_above)
    with bench.daemon("--l2-url", "mock:?delay=1h", "--l2-timeout", "1s"):
        for _ in range(2):
            engine.begin(PROMPTS)
            assert engine.finish() == expected
    lookup._timeouts, lookup._paused_until = 0, 0.0


@pytest.mark.parametrize("park_above", WAYS)
def test_another_daemon_takes_its_place(bench: Bench, baseline: Baseline, park_above: int | None) -> None:
    """It knows nothing of what its predecessor had promised."""
    engine, expected = bench.engine, baseline(PROMPTS)
    engine.park(park_above)
    with bench.daemon() as first:
        assert engine.ask(PROMPTS) == expected
        engine.begin(PROMPTS)
        with harness.hold_loads() if park_above is not None else nullcontext(threading.Event()) as gate:
            engine.step()
            first.child.kill()
            with bench.daemon():
                gate.set()
                assert engine.finish() == expected
                answers = engine.ask(PROMPTS)
                assert answers == expected
                answers = engine.ask(PROMPTS)
                assert answers == expected
                assert sum(a.cached for a in answers) >= 0.98 * ideal(PROMPTS)


def full(tier: reprise.TierStats) -> bool:
    """It has failed to write, or has given itself a smaller capacity."""
    return tier.errors > 0 or 0 < tier.capacity_bytes <= 1 << 20


class watch:
    """What the scheduler is promised, and the chains it asked for."""

    def __init__(self, engine: Engine) -> None:
        self._connector = engine.connector
        self._lookup = engine.connector._scheduler._lookup
        self.promised: list[int] = []
        self.chains: list[reprise.Chain] = []

    def __enter__(self) -> watch:
        ask, matched = self._lookup.ask, self._connector.get_num_new_matched_tokens

        def asked(request_id: str, chains: list[reprise.Chain], *rest: Any) -> Any:
            self.chains = chains
            return ask(request_id, chains, *rest)

        def promised(request: Any, computed: int) -> Any:
            answer = matched(request, computed)
            self.promised.append(answer[0] or 0)
            return answer

        self._lookup.ask, self._connector.get_num_new_matched_tokens = asked, promised
        return self

    def __exit__(self, *_: object) -> None:
        del self._lookup.ask, self._connector.get_num_new_matched_tokens


def flip_byte(folder: Path, block: bytes) -> None:
    """Of the one copy of `block` in the files of a disk tier: in the exponent of one number."""
    places = [(path, path.read_bytes().find(block)) for path in folder.rglob("*") if path.is_file()]
    ((path, at),) = [(path, at) for path, at in places if at >= 0]
    with path.open("r+b") as file:
        file.seek(at + 7)
        byte = file.read(1)[0]
        file.seek(at + 7)
        file.write(bytes([byte ^ 0x40]))
