"""Keys of token arrays that are shared: by threads, by managers, and by views that were made at different times."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from rig import acquired, as_hashes, blocks_of, check_handle, content, data_of, manager, own_handle, put_prompt, spec_of

import reprise
from aibrix_kvcache import BlockHashes, TokenListView
from aibrix_kvcache.chains import ChainBuilder, joined

KeyChain = reprise.KeyChain


def builder(name: str) -> ChainBuilder:
    namespace = reprise.Namespace(
        model=name, revision="none", dtype="float32", layout="ncld", block_tokens=4, block_bytes=512,
        layers=range(0, 2), heads=range(0, 2), salt="",
    )  # fmt: skip
    return ChainBuilder(spec_of(), namespace, reprise.KeyScheme.SHA256)


class YieldingKeyChain:
    """A KeyChain whose `append` lets other threads run before it returns, as it may at any time."""

    def __init__(self, *args) -> None:
        self._chain = KeyChain(*args)
        self.packed = self._chain.packed

    def append(self, tokens) -> None:
        self._chain.append(tokens)
        threading.Event().wait(0.001)


def test_managers_in_several_threads_share_a_token_array(monkeypatch):
    monkeypatch.setattr(reprise, "KeyChain", YieldingKeyChain)
    view = TokenListView(np.arange(400, dtype=np.int32))
    keys = b"".join(reprise.block_keys(view.to_numpy().view(np.uint32), 4))
    wrong: list[int] = []

    def look(chains: ChainBuilder) -> None:
        counts = range(1, 100, 3)
        wrong.extend(n for n in counts if bytes(chains.blocks(None, view, n).keys) != keys[: 16 * n])

    threads = [threading.Thread(target=look, args=(builder(str(i)),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_an_array_that_changed_between_two_views_is_not_one_prompt():
    tokens = np.arange(16, dtype=np.int64)
    prefix = TokenListView(tokens, 0, 4)
    tokens[4:] += 500
    query = TokenListView(tokens, 4, 12)
    assert joined(prefix, query).to_numpy().tolist() == [0, 1, 2, 3, *range(504, 512)]
    with pytest.raises(ValueError, match="different arrays"):
        prefix + query
    with manager() as cache:
        old = TokenListView(list(range(16)))
        names = blocks_of(list(range(12)), 4)
        assert cache.put(old[:4], old[4:12], own_handle(cache.block_spec, 2, names)[1]).is_ok()
        assert cache.exists(prefix, query).is_not_found()


def test_prefix_and_query_of_different_arrays():
    tokens = list(range(100, 132))
    with manager() as cache:
        assert put_prompt(cache, tokens).is_ok()
        prefix, query = TokenListView(tokens[:12]), TokenListView(tokens[12:])
        count, handle = cache.acquire(prefix, query).get()
        assert count == 20
        check_handle(handle, blocks_of(tokens, 12))
        handle.release()
        assert cache.exists(TokenListView([]), TokenListView(tokens)).get() == 32
        assert cache.exists(tokens[:12], tokens[12:]).get() == 20
        assert cache.exists(TokenListView(tokens[4:12]), query).is_not_found()


@pytest.mark.parametrize("first", range(5))
def test_groups_of_block_hashes_wherever_the_view_begins(first):
    """Cache blocks of two engine blocks; the list's first hashes belong to no whole group."""
    tokens = list(range(4 * 9))
    half = [f"hash-{i}" for i in range(9)]
    with manager(spec_of(ntokens=8)) as cache:
        whole = BlockHashes(half, 4)[4 * first :]
        alone = BlockHashes(half[first:], 4)
        names = blocks_of(tokens, 4 * first, 8)
        assert cache.put(None, whole, own_handle(cache.block_spec, len(names), names)[1]).get() == 8 * len(names)
        assert cache.exists(None, alone).get() == 8 * len(names)
        tensors, handle = own_handle(cache.block_spec, len(names) - 1)
        assert cache.get(alone[:8], alone[8:], handle).get() == 8 * (len(names) - 1)
        assert [data_of(tensor) for tensor in tensors] == [content(name, 1024) for name in names[1:]]


def test_hashes_and_tokens_do_not_meet():
    tokens = list(range(16))
    with manager() as cache:
        assert put_prompt(cache, tokens).is_ok()
        assert cache.exists(*as_hashes(tokens, 0)).is_not_found()
        assert acquired(cache, tokens) == 16
