"""When blocks are announced and taken back, without an engine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from vllm.v1.core.kv_cache_utils import BlockHash, maybe_convert_block_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec

import reprise
from reprise.vllm import events as module
from reprise.vllm.event_shape import EventShape
from reprise.vllm.events import Events, Offer
from reprise.vllm.presence import presence

from harness import eventually


class Event(NamedTuple):
    what: str
    block_hashes: list[str]


class Shape:
    """Names a block by its index."""

    def stored(self, request: str, first: int, end: int, group: int) -> Event:
        return Event("+", [f"{request}{i}" for i in range(first, end)])

    def removed(self, hashes: Sequence[str], group: int) -> Event:
        return Event("-", list(hashes))


class Store:
    """What is there, as the cache says it."""

    def __init__(self) -> None:
        self.there: set[bytes] = set()
        self.silent = False
        self.asked = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, group: int, keys: Sequence[bytes]) -> list[bool | None]:
        self.asked += 1
        answers = [None if self.silent else key in self.there for key in keys]
        self.hold.wait(30)
        return answers


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def log(store: Store) -> Iterator[Events]:
    made: Any = Events(Shape(), store, 4000)  # type: ignore[arg-type]
    yield made
    store.hold.set()
    made.close()


def offer(name: str, blocks: int, first: int = 0) -> Offer:
    return Offer.of(name, b"".join(key(name, first + i) for i in range(blocks)), first)


def key(name: str, at: int) -> bytes:
    return f"{name}{at}".encode().ljust(16)


def keys(name: str, *at: int) -> set[bytes]:
    return {key(name, i) for i in at}


def step(log: Events, number: int, *saves: Offer, loads: Sequence[Offer] = (), unsaved: Sequence[int] = (),
         bad: bool = False) -> list[Any]:
    log.planned(number, saves, loads)
    before = log.take()
    log.reported(number, unsaved, bad)
    return [*before, *log.take()]


def test_nothing_is_announced_before_the_workers_have_reported(log: Events, store: Store) -> None:
    store.there = keys("a", 0, 1, 2)
    log.planned(1, [offer("a", 3)], [])
    assert log.take() == []
    log.reported(1, (), False)
    assert log.take() == [("+", ["a0", "a1", "a2"])]


def test_what_is_announced_is_not_announced_again_but_when_it_is_loaded(log: Events, store: Store) -> None:
    store.there = keys("a", 0, 1, 2)
    assert step(log, 1, offer("a", 2)) == [("+", ["a0", "a1"])]
    assert step(log, 2, offer("a", 3)) == [("+", ["a2"])]
    assert step(log, 3, loads=[offer("a", 2)]) == [("+", ["a0", "a1"])]


def test_what_some_rank_did_not_store_is_announced_as_far_as_it_is_there(log: Events, store: Store) -> None:
    store.there = keys("a", 0, 2) | keys("b", 0)
    assert step(log, 1, offer("a", 3), offer("b", 1), unsaved=[0]) == [("+", ["b0"])]
    told: list[Any] = []
    eventually(lambda: told.extend(log.take()) or len(told) == 2, "what is there is announced")
    assert told == [("+", ["a0"]), ("+", ["a2"])]


def test_what_comes_later_is_announced_later(log: Events, store: Store) -> None:
    """From a device, blocks are on their way when the step is reported."""
    step(log, 1, offer("a", 2), unsaved=[0])
    eventually(lambda: store.asked, "the cache is asked")
    store.there = keys("a", 0, 1)
    told: list[Any] = []
    eventually(lambda: told.extend(log.take()) or told, "they are announced")
    assert sorted(name for event in told for name in event.block_hashes) == ["a0", "a1"]
    eventually(lambda: not log._doubtful, "nothing is in doubt any more")
    assert step(log, 2, offer("a", 2)) == []


def test_a_step_that_nobody_reported_is_looked_up(log: Events, store: Store) -> None:
    log.planned(1, [offer("a", 1)], [])
    assert step(log, 2, offer("b", 1)) == [("+", ["b0"])]
    eventually(lambda: store.asked, "the cache is asked")
    assert ("+", ["a0"]) not in log.take()


def test_what_is_gone_is_taken_back(log: Events, store: Store) -> None:
    store.there = keys("a", 0, 1, 2)
    step(log, 1, offer("a", 3))
    store.there -= keys("a", 1)
    told: list[Any] = []
    eventually(lambda: told.extend(log.take()) or told, "it is taken back")
    assert told == [("-", ["a1"])]
    assert step(log, 2, offer("a", 3)) == [("+", ["a1"])]


def test_a_cache_that_says_nothing_takes_nothing_back(log: Events, store: Store) -> None:
    store.there, store.silent = keys("a", 0), True
    step(log, 1, offer("a", 1))
    eventually(lambda: store.asked > 3, "it is asked for")
    assert log.take() == []


def test_an_answer_from_before_a_report_takes_nothing_back(log: Events, store: Store) -> None:
    step(log, 1, offer("a", 1))
    store.hold.clear()  # The answer, that it is not there, is on its way...
    log.take()
    asked = store.asked
    eventually(lambda: store.asked > asked or not log._known, "it is asked for")
    if not log._known:  # It was taken back before that: put it there once more.
        log.take()
        step(log, 2, offer("a", 1))
        eventually(lambda: store.asked > asked, "it is asked for")
    log.take()
    step(log, 3, offer("a", 1))  # ... while it is stored.
    store.there = keys("a", 0)
    asked = store.asked
    store.hold.set()
    eventually(lambda: store.asked > asked + 1, "it is asked for again")
    assert ("-", ["a0"]) not in log.take()


def test_a_reset_takes_everything_back_and_forgets_what_was_on_its_way(log: Events, store: Store) -> None:
    store.there = keys("a", 0, 1)
    step(log, 1, offer("a", 2))
    log.planned(2, [offer("b", 1)], [])
    log.reset()
    log.reported(2, (), False)
    assert log.take() == [("-", ["a0", "a1"])]


def test_what_is_too_much_to_look_after_is_taken_back(
        log: Events, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 2)
    store.there = keys("a", 0, 1, 2, 3)
    assert step(log, 1, offer("a", 4)) == [("+", ["a0", "a1", "a2", "a3"]), ("-", ["a0", "a1"])]


def test_an_event_that_cannot_be_made_does_not_reach_the_engine(log: Events) -> None:
    log._shape = None  # type: ignore[assignment]
    assert step(log, 1, offer("a", 1)) == []


def test_presence_is_that_of_all_ranks() -> None:
    spaces = [reprise.Namespace(
        model="m", revision="r", dtype="float32", layout=f"rank{i}", block_tokens=1, block_bytes=8, layers=range(1),
        heads=range(1), salt="") for i in range(2)]
    with reprise.Cache.open("embedded:", l1_capacity="1MiB") as cache:
        names = [key("a", i) for i in range(6)]
        for i, space in enumerate(spaces):
            for name in (names if i else [names[j] for j in (0, 2, 3, 5)]):
                cache.put(reprise.Chain(space, name), bytes(8))
        assert presence(cache, spaces, names, 5.0) == [True, False, True, True, False, True]
        assert presence(cache, spaces, names, 5.0, calls=1) == [True, False, None, None, None, None]
        assert presence(cache, spaces, [], 5.0) == []


@pytest.mark.parametrize("integers", ["0", "1"])
def test_blocks_have_vllms_names(integers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a block has several of vLLM's hashes, of which the last one is its name."""
    monkeypatch.setenv("VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES", integers)
    spec = FullAttentionSpec(block_size=32, num_kv_heads=1, head_size=8, dtype=torch.float32)
    hashes = [hashlib.sha256(bytes([i])).digest() for i in range(8)]
    asked: Any = SimpleNamespace(
        block_hashes=hashes, all_token_ids=list(range(140)), lora_request=None, session_id="s", mm_features=[],
        cache_salt="salt", prompt_embeds=None)
    shape = EventShape(16, [SimpleNamespace(kv_cache_spec=spec)])
    names = [maybe_convert_block_hash(BlockHash(hashes[i])) for i in (1, 3, 5, 7)]
    assert isinstance(names[0], int if integers == "1" else bytes)
    whole, behind = shape.stored(asked, 0, 4, 0), shape.stored(asked, 2, 4, 0)
    assert (whole.block_hashes, whole.parent_block_hash, whole.extra_keys) == (
        names, None, [("salt",), None, None, None])
    assert (behind.block_hashes, behind.parent_block_hash) == (names[2:], names[1])
    assert behind.token_ids == list(range(64, 128))
    with pytest.raises(IndexError):
        shape.stored(asked, 0, 5, 0)
