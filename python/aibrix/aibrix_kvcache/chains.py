"""From a prefix and a query to a chain of the core.

A block's key covers everything before it from the prefix's start on. The keys of a token array (or of a list of block
hashes) are computed once and kept with it, so that the chunks of a prompt, which are views of one array, cost a slice.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

import reprise

from .cache_hashable import BlockHashes, TokenListView
from .spec import KVCacheBlockSpec

KEY_BYTES = 16
_HASH_ALGORITHM = "aibrix-block-hash"

Tokens = TokenListView | BlockHashes


class Blocks(NamedTuple):
    """The complete blocks of a query."""

    chain: reprise.Chain
    keys: memoryview
    """16 bytes a block."""
    prefix: Tokens | None
    query: Tokens
    """What the blocks hold, and perhaps an incomplete block behind them."""

    @property
    def length(self) -> int:
        return len(self.keys) // KEY_BYTES

    def first(self, count: int) -> Blocks:
        """The first `count` of them."""
        if count >= self.length:
            return self
        keys = self.keys[: count * KEY_BYTES]
        return Blocks(reprise.Chain(self.chain.ns, keys), keys, self.prefix, self.query)

    def after(self, count: int) -> Blocks:
        """Those behind the first `count`."""
        if count == 0:
            return self
        keys, tokens = self.keys[count * KEY_BYTES :], count * self.chain.ns.block_tokens
        chain = reprise.Chain(self.chain.ns, keys)
        return Blocks(chain, keys, joined(self.prefix, self.query[:tokens]), self.query[tokens:])


def joined(prefix: Tokens | None, query: Tokens) -> Any:
    """Both, one after the other: a view where they are neighbours, else a copy."""
    if prefix is None or len(prefix) == 0:
        return query
    if isinstance(prefix, TokenListView) and isinstance(query, TokenListView):
        if prefix.stop == query.start and prefix.same_array(query):
            return prefix + query
        return TokenListView(np.concatenate([prefix.to_numpy(), query.to_numpy()]))
    return prefix + query


class ChainBuilder:
    """Makes chains of one namespace. Thread-safe."""

    def __init__(self, spec: KVCacheBlockSpec, namespace: reprise.Namespace, scheme: reprise.KeyScheme) -> None:
        self._ntokens = spec.block_ntokens
        self._namespace = namespace
        self._scheme = scheme

    @property
    def namespace(self) -> reprise.Namespace:
        return self._namespace

    def blocks(self, prefix: Tokens | None, query: Tokens, limit: int | None = None) -> Blocks:
        """The complete blocks of `query`, `limit` of them at most. `prefix` must be whole blocks."""
        count = len(query) // self._ntokens
        if limit is not None:
            count = min(count, limit)
        if isinstance(query, BlockHashes):
            keys = self._hash_keys(query, count)
        else:
            keys = self._token_keys(prefix, query, count)
        return Blocks(reprise.Chain(self._namespace, keys), keys, prefix, query)

    def _token_keys(self, prefix: Tokens | None, query: TokenListView, count: int) -> memoryview:
        if prefix is None or len(prefix) == 0:
            start, skip, whole = query.start, 0, query
        else:
            assert isinstance(prefix, TokenListView), f"the prefix is a {type(prefix).__name__}, the query tokens"
            whole = joined(prefix, query)
            start, skip = whole.start, len(prefix) // self._ntokens
        known = whole.meta.keys
        slot = (start, self._ntokens, self._scheme)
        growing = known.get(slot)
        if growing is None:  # Of two threads that come here at once, one has its keys taken.
            growing = known.setdefault(slot, _GrowingKeys(self._ntokens, self._scheme))
        keys = growing.upto(whole.array, start, skip + count)
        return keys[skip * KEY_BYTES : (skip + count) * KEY_BYTES]

    def _hash_keys(self, query: BlockHashes, count: int) -> memoryview:
        group = self._ntokens // query.block_ntokens
        first = query.start  # In hashes of the list that all its slices share.
        slot = (first % group, group)
        known = query.meta.keys
        keys = known.get(slot)
        if keys is None:
            packed = reprise.keys_from_hashes(
                _HASH_ALGORITHM, query.all_hashes[first % group :], group, trust_hashes=True
            )
            keys = known[slot] = memoryview(packed)
        skip = first // group
        return keys[skip * KEY_BYTES : (skip + count) * KEY_BYTES]


class _GrowingKeys:
    """Keys of one token array from one place on, as far as somebody has asked. Thread-safe."""

    def __init__(self, block_ntokens: int, scheme: reprise.KeyScheme) -> None:
        self._lock = threading.Lock()  # Managers may share a token array, and with it its keys.
        self._chain = reprise.KeyChain(block_ntokens, scheme)
        self._ntokens = block_ntokens
        self._packed = memoryview(b"")
        self._blocks = 0

    def upto(self, array: np.ndarray[Any, Any], start: int, blocks: int) -> memoryview:
        with self._lock:
            return self._upto(array, start, blocks)

    def _upto(self, array: np.ndarray[Any, Any], start: int, blocks: int) -> memoryview:
        if blocks > self._blocks:
            # Whole prompts are asked for in chunks: what is there is hashed at once, up to twice of what was asked.
            there = (len(array) - start) // self._ntokens
            goal = min(there, max(blocks, 2 * self._blocks))
            done = start + self._blocks * self._ntokens
            self._chain.append(array[done : start + goal * self._ntokens].view(np.uint32))
            self._blocks = goal
            self._packed = memoryview(self._chain.packed())
        return self._packed
