"""Keys of blocks, 16 bytes each: of token arrays and of an engine's block hashes.

They are computed once, however many views are made of an array or a list, and kept in the `meta` that the views share.
So the chunks of a prompt cost a slice.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import reprise

from .cache_hashable import BlockHashes, TokenListView

KEY_BYTES = 16
_HASH_ALGORITHM = "aibrix-block-hash"

Tokens = TokenListView | BlockHashes


def joined(prefix: Tokens | None, query: Tokens) -> Any:
    """Both, one after the other: a view where they are neighbours, else a copy."""
    if prefix is None or len(prefix) == 0:
        return query
    if isinstance(prefix, TokenListView) and isinstance(query, TokenListView):
        if prefix.stop == query.start and prefix.same_array(query):
            return prefix + query
        return TokenListView(np.concatenate([prefix.to_numpy(), query.to_numpy()]))
    return prefix + query


def packed_keys(
    prefix: Tokens | None, query: Tokens, block_ntokens: int, count: int, scheme: reprise.KeyScheme
) -> memoryview:
    """Keys of the first `count` blocks of `query`, one after the other. `prefix` must be whole blocks.

    A token block's key covers everything from the prefix's start on; a block hash stands for all before it by itself,
    and `scheme` has no meaning for it.
    """
    if isinstance(query, BlockHashes):
        return _of_hashes(query, block_ntokens, count)
    assert prefix is None or isinstance(prefix, TokenListView), f"a prefix of {type(prefix).__name__} before tokens"
    whole: TokenListView = joined(prefix, query)
    skip = (len(whole) - len(query)) // block_ntokens
    slot = (whole.start, block_ntokens, scheme)
    known = whole.meta.keys
    growing = known.get(slot)
    if growing is None:  # Of two threads that come here at once, one has its keys taken.
        growing = known.setdefault(slot, _GrowingKeys(block_ntokens, scheme))
    keys: memoryview = growing.upto(whole.array, whole.start, skip + count)
    return keys[skip * KEY_BYTES : (skip + count) * KEY_BYTES]


def split_keys(packed: memoryview) -> list[bytes]:
    """One object a key."""
    keys = bytes(packed)
    return [keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES)]


def _of_hashes(query: BlockHashes, block_ntokens: int, count: int) -> memoryview:
    group = block_ntokens // query.block_ntokens
    first = query.start  # In hashes of the list that all its slices share.
    slot = (first % group, group)
    known = query.meta.keys
    keys = known.get(slot)
    if keys is None:
        hashes = query.all_hashes[first % group :]
        keys = known[slot] = memoryview(reprise.keys_from_hashes(_HASH_ALGORITHM, hashes, group, trust_hashes=True))
    skip = first // group
    return keys[skip * KEY_BYTES : (skip + count) * KEY_BYTES]


class _GrowingKeys:
    """Keys of one token array from one place on, as far as somebody has asked. Thread-safe."""

    def __init__(self, block_ntokens: int, scheme: reprise.KeyScheme) -> None:
        self._lock = threading.Lock()  # Managers may share a token array, and with it its keys.
        self._chain = reprise.KeyChain(block_ntokens, scheme)
        self._ntokens = block_ntokens
        self._ahead = scheme is not reprise.KeyScheme.FARM_SIMPLE  # Quadratic: not a token more than was asked for.
        self._packed = memoryview(b"")
        self._blocks = 0

    def upto(self, array: np.ndarray[Any, Any], start: int, blocks: int) -> memoryview:
        """Keys of `blocks` blocks at least, if the array has them."""
        with self._lock:
            if blocks > self._blocks:
                # Whole prompts are asked for in chunks: what is there is hashed at once, up to twice of what was asked.
                there = (len(array) - start) // self._ntokens
                goal = min(there, max(blocks, 2 * self._blocks if self._ahead else 0))
                done = start + self._blocks * self._ntokens
                self._chain.append(array[done : start + goal * self._ntokens].view(np.uint32))
                self._blocks = goal
                self._packed = memoryview(self._chain.packed())
            return self._packed
