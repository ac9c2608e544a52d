"""Lookups over a real cache whose blocks lie on disk, and the line that says what was gained."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reprise
from reprise.vllm.reports.gains import Gains
from reprise.vllm.reports.tally import Tally
from reprise.vllm.scheduler.lookup import PENDING, Lookup

from harness import eventually

BLOCK = 4096
KEYS = b"".join(bytes([i]) * 16 for i in range(8))


def chains(*ranks: int, keys: bytes = KEYS) -> list[reprise.Chain]:
    return [reprise.Chain(namespace(rank), keys) for rank in ranks]


def namespace(rank: int) -> reprise.Namespace:
    return reprise.Namespace(model="m", revision="r", dtype="d", layout="l", block_tokens=32, block_bytes=BLOCK,
                             layers=range(1), heads=range(rank, rank + 1), salt="")


class SlowCache:
    """Has everything in a slow tier, from where nothing ever comes."""

    def __init__(self) -> None:
        self.prefetched = 0

    def match(self, chains: Any, *, timeout: float) -> Any:
        return SimpleNamespace(blocks=8, from_l1=0, from_l2=8, reason=reprise.Reason.NONE)

    def prefetch(self, chains: Any, *, timeout: float) -> None:
        self.prefetched += 1

    def acquire(self, chains: Any, *, timeout: float) -> Any:
        nothing = SimpleNamespace(blocks=0, from_l1=0, from_l2=0, reason=reprise.Reason.MISS)
        return SimpleNamespace(match=nothing, release=lambda: None)


def over_a_disk(cache: Any, timeout: float) -> Lookup:
    lookup = Lookup(cache, timeout, 60.0, Tally())
    lookup.sources.set_slow_tier("disk")
    return lookup


def stored(folder: Path, blocks: dict[int, int]) -> reprise.Cache:
    """A cache that has so many blocks of each rank on disk, and none in memory."""
    url = f"disk:{folder}?capacity=256MiB"
    with reprise.Cache.open("embedded:", l1_capacity="1MiB", l2_url=url) as cache:
        for rank, count in blocks.items():
            chain = reprise.Chain(namespace(rank), KEYS[:16 * count])
            assert cache.put(chain, bytes([rank + 1]) * (BLOCK * count)).accepted == count
        assert cache.flush(timeout=60)
    return reprise.Cache.open("embedded:", l1_capacity="1MiB", l2_url=url)


def test_blocks_on_disk_are_waited_for_between_steps(tmp_path: Path) -> None:
    lookup = over_a_disk(stored(tmp_path, {0: 8, 1: 5}), 10.0)
    answers = [lookup.ask("a", chains(0, 1), lambda blocks: 60.0)]
    assert answers == [PENDING]
    eventually(lambda: answers.append(lookup.ask("a", chains(0, 1), lambda blocks: 60.0))
               or answers[-1] is not PENDING, "they are there")
    lease = answers[-1]
    assert isinstance(lease, reprise.Lease) and lease.match
    assert lease.match.blocks == 5  # What both ranks have.
    assert lease.match.from_l2 == 0
    assert [bytes(lease[i][:1]) for i in (0, 4, 5, 9)] == [b"\1", b"\1", b"\2", b"\2"]
    lease.release()
    again = lookup.ask("b", chains(0, 1), lambda blocks: 60.0)
    assert isinstance(again, reprise.Lease)  # In memory now: at once.
    again.release()
    assert lookup.ask("c", chains(0, 1, keys=b"\xff" * 16), lambda blocks: 60.0) is None
    lookup.close()


def test_nobody_waits_longer_than_computing_takes(tmp_path: Path) -> None:
    lookup = over_a_disk(stored(tmp_path, {0: 8}), 10.0)
    assert lookup.ask("a", chains(0), lambda blocks: 0.0) is PENDING
    answer = lookup.ask("a", chains(0), lambda blocks: 0.0)
    assert answer is not PENDING
    if isinstance(answer, reprise.Lease):
        answer.release()
    lookup.close()


def test_a_request_is_put_off_once() -> None:
    cache = SlowCache()
    lookup = over_a_disk(cache, 1.0)
    assert lookup.ask("a", chains(0), lambda blocks: 0.0) is PENDING
    # The engine has no room for it for a while, and it asks again.
    assert [lookup.ask("a", chains(0), lambda blocks: 60.0) for _ in range(3)] == [None] * 3
    assert cache.prefetched == 1
    lookup.forget("a")
    assert lookup.ask("a", chains(0), lambda blocks: 60.0) is PENDING


def test_more_requests_than_can_be_followed_are_not_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.vllm.scheduler.lookup._MAX_FETCHES", 2)
    lookup = over_a_disk(SlowCache(), 1.0)
    answers = [lookup.ask(name, chains(0), lambda blocks: 60.0) for name in "abcabc"]
    assert answers == [PENDING, PENDING, None] * 2


def test_a_slow_tier_that_is_there_later_is_noticed() -> None:
    cache: Any = SlowCache()
    lookup = Lookup(cache, 1.0, 60.0, Tally())
    assert lookup.ask("a", chains(0), lambda blocks: 60.0) is None
    lookup.sources.set_slow_tier("disk")
    assert lookup.ask("a", chains(0), lambda blocks: 60.0) is PENDING


def test_a_cache_that_is_closed_is_one_without_hits(tmp_path: Path) -> None:
    cache = stored(tmp_path, {0: 1})
    tally = Tally()
    lookup = Lookup(cache, 1.0, 1.0, tally)
    threading.Thread(target=cache.close).start()
    eventually(lambda: cache.closed, "it is closed")
    assert lookup.ask("a", chains(0), lambda blocks: 1.0) is None
    assert tally.problems == 1


def test_the_line_says_what_was_gained() -> None:
    gains = Gains()
    gains.step(1000, 0, 0.5)
    gains.step(10, 0, 5.0)  # Decoding: says nothing of prefill.
    gains.step(1000, 7, 5.0)  # Loading: neither.
    assert gains.tokens_per_second == 2000
    gains.asked, gains.found, gains.saved = 8000, 6000, 64
    assert gains.line(100.0) == ""
    assert gains.line(130.0) == ""
    assert gains.line(161.0) == ("in 61 s 6000 of 8000 tokens came from the cache (75.0 %), 64 were stored; "
                                 "computing them would have taken about 3.0 s")
    assert gains.line(300.0) == ""  # Nothing happened since.


def test_a_cache_that_hangs_is_asked_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    cache, asked, reason = SlowCache(), [0], [reprise.Reason.TIMEOUT]
    cache.tier = ""

    def acquire(chains: Any, *, timeout: float) -> Any:
        asked[0] += 1
        match = SimpleNamespace(blocks=0, from_l1=0, from_l2=0, reason=reason[0])
        return SimpleNamespace(match=match, release=lambda: None)

    monkeypatch.setattr(cache, "acquire", acquire)
    lookup = Lookup(cache, 0.5, 1.0, Tally())  # type: ignore[arg-type]

    def minutes(count: int) -> int:
        before = asked[0]
        for _ in range(count * 60):
            clock[0] += 1.0
            lookup.ask("a", chains(0), lambda blocks: 1.0)
        return asked[0] - before

    assert minutes(10) <= 20
    reason[0] = reprise.Reason.MISS
    minutes(2)
    assert minutes(1) == 60
