"""Random calls against a dictionary, over every combination of tiers, layout, keys and policy.

Blocks' bytes follow from their tokens, so whatever is read is checked. Where nothing may legitimately be missing
(`exact`), answers are exact; elsewhere they may be shorter, but never longer and never wrong.
AIBRIX_MODEL_EXAMPLES multiplies the number of examples.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rig import (
    BLOCK_NBYTES,
    NTOKENS,
    acquired,
    as_hashes,
    as_tokens,
    blocks_of,
    check_handle,
    content,
    data_of,
    fill,
    manager,
    own_handle,
    spec_of,
)

import reprise

EXAMPLES = int(os.environ.get("AIBRIX_MODEL_EXAMPLES", "1"))
TINY = 6 * BLOCK_NBYTES
MOST_HELD = 2


class Tiers(NamedTuple):
    """Tiers by environment, and whether an answer may be shorter than the model's (at all, or only before a flush)."""

    env: dict[str, object]
    exact: bool
    at_once: bool = True


_L2 = {"L2_CACHE_BACKEND": "MOCK", "DOUBLE_GET_THRESHOLD": "0"}
_ASYNC = {"L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 4096}
_ALL = {"L2_CACHE_INGESTION_TYPE": "ALL"}
TIERS = {
    "l1": Tiers({}, exact=True),
    "l1-tiny": Tiers({"capacity": TINY}, exact=False),
    "both-sync": Tiers({**_L2, **_ALL, "capacity": TINY}, exact=True),
    "both-sync-hot": Tiers({**_L2, "capacity": TINY}, exact=False),
    "both-async": Tiers({**_L2, **_ALL, **_ASYNC, "capacity": TINY}, exact=True, at_once=False),
    "both-async-evicted": Tiers(
        {**_L2, **_ASYNC, "L2_CACHE_INGESTION_TYPE": "EVICTED", "capacity": TINY}, exact=False
    ),
    "both-async-few": Tiers(
        {**_L2, **_ALL, "capacity": TINY, "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 1, "L2_CACHE_OP_BATCH": 2},
        exact=False,
    ),
    "l2": Tiers({**_L2, "L1_CACHE_ENABLED": 0}, exact=True),
    "l2-async": Tiers({**_L2, **_ASYNC, "L1_CACHE_ENABLED": 0}, exact=True, at_once=False),
}


class Prompt(NamedTuple):
    """A prompt out of a small tree of them, and how much of it is prefix."""

    tokens: list[int]
    prefix: int


@st.composite
def prompts(draw) -> Prompt:
    root, branch = draw(st.integers(0, 1)), draw(st.integers(0, 2))
    fork, blocks, tail = draw(st.integers(0, 4)), draw(st.integers(0, 9)), draw(st.integers(0, NTOKENS - 1))
    length = blocks * NTOKENS + tail
    own = 100_000 * (branch + 1)
    tokens = [1000 * root + i + (own if i >= fork * NTOKENS else 0) for i in range(length)]
    return Prompt(tokens, NTOKENS * draw(st.integers(0, blocks)))


_READS = ("acquire", "get", "exists", "chunks")
_WRITES = ("put", "fill")
_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from([*_READS, *_WRITES, *_WRITES, "hold", "drop", "abandon", "delete", "prefetch", "flush"]),
        prompts(),
        st.integers(0, 10),
    ),
    min_size=15,
    max_size=40,
)


class Model:
    """The manager and the dictionary, one method an operation. `number` is a draw an operation may use as it likes."""

    def __init__(self, cache, tiers: Tiers, form) -> None:
        self.cache = cache
        self.tiers = tiers
        self.form = form
        self.present: set[tuple[int, ...]] = set()
        self.settled = True
        self.held: list[tuple[object, list[tuple[int, ...]]]] = []

    def names(self, prompt: Prompt) -> list[tuple[int, ...]]:
        return blocks_of(prompt.tokens, prompt.prefix)

    def run(self, names: list[tuple[int, ...]]) -> int:
        return sum(1 for _ in itertools.takewhile(self.present.__contains__, names))

    def check_count(self, blocks: int, names: list[tuple[int, ...]]) -> None:
        expected = self.run(names)
        assert blocks <= expected, f"{blocks} blocks of which {expected} were ever put"
        if self.tiers.exact and self.settled:
            assert blocks == expected, f"{blocks} blocks where {expected} are"

    def tokens_of(self, status) -> int:
        """Tokens of an answer; 0 for NOT_FOUND. Nothing else is an answer here."""
        assert status.is_ok() or status.is_not_found(), status
        if status.is_not_found():
            return 0
        tokens = status.get()
        assert tokens > 0 and tokens % NTOKENS == 0
        return tokens

    def exists(self, prompt: Prompt, number: int) -> None:
        status = self.cache.exists(*self.form(*prompt))
        self.check_count(self.tokens_of(status) // NTOKENS, self.names(prompt))

    def acquire(self, prompt: Prompt, number: int) -> None:
        tokens = acquired(self.cache, *prompt, form=self.form)
        self.check_count(tokens // NTOKENS, self.names(prompt))

    def get(self, prompt: Prompt, number: int) -> None:
        room = max(1, number)
        tensors, handle = own_handle(self.cache.block_spec, room)
        status = self.cache.get(*self.form(*prompt), handle)
        names = self.names(prompt)[:room]
        blocks = self.tokens_of(status) // NTOKENS
        self.check_count(blocks, names)
        for tensor, name in zip(tensors[:blocks], names, strict=False):
            assert data_of(tensor) == content(name)
        handle.release()

    def chunks(self, prompt: Prompt, number: int) -> None:
        found = asked = 0
        for before, chunk, following, _ in self.cache.cache_chunk_keys(*self.form(*prompt)):
            assert len(before) == prompt.prefix + asked
            assert len(chunk) <= self.cache.chunk_size
            assert following is None or len(following) == self.cache.chunk_size
            if found == asked:
                found += self.tokens_of(self.cache.exists(before, chunk))
            asked += len(chunk)
        assert asked - asked % NTOKENS == len(self.names(prompt)) * NTOKENS
        self.check_count(found // NTOKENS, self.names(prompt))

    def put(self, prompt: Prompt, number: int) -> None:
        """Out of an engine's memory: all blocks, or the first few of them."""
        names = self.names(prompt)[: max(1, number)]
        tensors, handle = own_handle(self.cache.block_spec, max(1, len(names)))
        fill(tensors[: len(names)], names)
        self.check_put(self.cache.put(*self.form(*prompt), handle), names)

    def fill(self, prompt: Prompt, number: int) -> None:
        """In the cache's own memory."""
        names = self.names(prompt)
        status = self.cache.allocate_for(*self.form(*prompt))
        if not names:
            assert status.is_invalid(), status
            return
        if status.is_out_of_memory():
            assert not self.tiers.exact, status
            return
        handle = status.get()
        assert 0 < len(handle) <= len(names)
        # Admitting the first blocks may push the last ones out of a small L1: those get no memory then.
        assert len(handle) == len(names) or self.tiers.env.get("capacity") == TINY
        if 0 < number < len(handle):
            handle.truncate(number)
            assert len(handle) == number
        fill(handle.to_tensors(), names[: len(handle)])
        self.check_put(self.cache.put(*self.form(*prompt), handle), names[: len(handle)])

    def check_put(self, status, names: list[tuple[int, ...]]) -> None:
        if self.tiers.exact:
            assert status.is_ok() and status.get() == len(names) * NTOKENS, status
        else:
            assert status.is_ok() or status.is_denied() or status.is_out_of_memory(), status
            assert status.get(default=0) <= len(names) * NTOKENS
        self.present.update(names)
        self.settled = self.tiers.at_once

    def abandon(self, prompt: Prompt, number: int) -> None:
        """Memory that is given back unfilled: nobody may ever see it."""
        status = self.cache.allocate_for(*self.form(*prompt))
        if status.is_ok():
            status.get().release()

    def hold(self, prompt: Prompt, number: int) -> None:
        """A handle that is kept while other calls go on."""
        if len(self.held) == MOST_HELD:
            return
        status = self.cache.acquire(*self.form(*prompt))
        if not status.is_ok():
            assert status.is_not_found(), status
            self.check_count(0, self.names(prompt))
            return
        tokens, handle = status.get()
        self.check_count(tokens // NTOKENS, self.names(prompt))
        if number < len(handle):
            handle.truncate(number)
            assert len(handle) == number
        self.held.append((handle, self.names(prompt)))

    def drop(self, prompt: Prompt, number: int) -> None:
        if self.held:
            handle, names = self.held.pop(0)
            check_handle(handle, names)
            handle.release()

    def delete(self, prompt: Prompt, number: int) -> None:
        status = self.cache.delete(*self.form(*prompt))
        assert status.is_ok(), status
        self.present.difference_update(self.names(prompt))

    def prefetch(self, prompt: Prompt, number: int) -> None:
        self.cache.prefetch(*self.form(*prompt))

    def flush(self, prompt: Prompt, number: int) -> None:
        status = self.cache.flush()
        assert status.is_ok(), status
        self.settled = True

    def finish(self) -> None:
        """Everything that was ever put, once more."""
        while self.held:
            self.drop(Prompt([], 0), 0)
        self.flush(Prompt([], 0), 0)
        for name in sorted(self.present, key=len)[-4:]:
            self.acquire(Prompt(list(name), 0), 0)


def play(tiers: Tiers, layout: str, form, operations, **env: object) -> None:
    settings_of = {"L2_CACHE_NAMESPACE": "model", **tiers.env, **env}
    with manager(spec_of(layout), CHUNK_SIZE=16, **settings_of) as cache:
        model = Model(cache, tiers, form)
        for name, prompt, number in operations:
            getattr(model, name)(prompt, number)
        model.finish()


def half_blocks(tokens: list[int], prefix: int):
    """Block hashes of an engine with smaller blocks than the cache's."""
    return as_hashes(tokens, prefix, NTOKENS // 2)


FORMS = {"tokens": as_tokens, "hashes": as_hashes}
COMBINATIONS = [
    pytest.param(tiers, layout, form, policy, id=f"{tiers}-{layout}-{form}-{policy}")
    for tiers in TIERS
    for layout in ("NCLD", "LCND")
    for form in FORMS
    for policy in (("LRU", "FIFO", "S3FIFO", "ADAPTIVE") if TIERS[tiers].env.get("L1_CACHE_ENABLED", 1) else ("LRU",))
]


def _searching(examples: int):
    return settings(
        max_examples=examples * EXAMPLES,
        derandomize=EXAMPLES == 1,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize(("tiers", "layout", "form", "policy"), COMBINATIONS)
def test_calls_agree_with_a_dictionary(tiers, layout, form, policy):
    @_searching(6)
    @given(_OPERATIONS)
    def search(operations):
        play(TIERS[tiers], layout, FORMS[form], operations, L1_CACHE_EVICTION_POLICY=policy)

    search()


@pytest.mark.parametrize("backend", ["SHFS", "ROCKSDB"])
@pytest.mark.parametrize("tiers", ["both-sync", "both-async", "l2"])
def test_every_backend(backend, tiers):
    if backend == "ROCKSDB" and not has_store("rocksdb"):
        pytest.skip("there is no store rocksdb in this build")

    @_searching(4)
    @given(_OPERATIONS)
    def search(operations):
        with tempfile.TemporaryDirectory() as root:
            env = {"L2_CACHE_BACKEND": backend, f"{backend}_ROOT": root, "MODEL": "m"}
            play(TIERS[tiers]._replace(env={**TIERS[tiers].env, **env}), "NCLD", as_tokens, operations)

    search()


def has_store(name: str) -> bool:
    """Whether the core was built with it: a URL without anything behind the name is refused for another reason."""
    with pytest.raises(reprise.Error) as refused:
        reprise.Cache.open("embedded:", l1_capacity="1MiB", l2_url=f"{name}:")
    return "no store" not in str(refused.value)


@pytest.mark.parametrize("tiers", ["l1", "both-sync"])
def test_engine_blocks_of_half_the_size(tiers):
    @_searching(10)
    @given(_OPERATIONS)
    def search(operations):
        play(TIERS[tiers], "NCLD", half_blocks, operations)

    search()


@pytest.mark.parametrize("builder", ["ROLLING_HASH", "SIMPLE_HASH", "RAW"])
def test_every_kind_of_key(builder):
    @_searching(10)
    @given(_OPERATIONS)
    def search(operations):
        play(TIERS["both-sync"], "NCLD", as_tokens, operations, L2_CACHE_KEY_BUILDER=builder)

    search()


@pytest.mark.parametrize("tiers", ["l1", "l1-tiny", "both-sync", "both-async", "l2"])
def test_tokens_that_are_kept_and_compared(tiers):
    @_searching(8)
    @given(_OPERATIONS)
    def search(operations):
        play(TIERS[tiers], "NCLD", as_tokens, operations, TOKEN_VALIDATION_ENABLED=1)

    search()
