"""The keys of a prompt's blocks: 16 bytes each, of a block and everything before it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import reprise

from ..cache_hashable import BlockHashes, KVCacheKeyTypes, TokenListView

_SLOT = "l1.chain_keys"  # Where the keys of an array are kept, in the `meta.keys` that all its views share.


def chain_keys(prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, block_ntokens: int) -> list[bytes]:
    """Keys of the complete blocks of `query`. ValueError if the prefix does not end at a block, or a block hash covers
    more than a block or not a whole part of one.
    """
    nprefix = len(prefix) if prefix is not None else 0
    if nprefix % block_ntokens:
        raise ValueError(f"a prefix of {nprefix} tokens does not end at a block of {block_ntokens}")
    first, count = nprefix // block_ntokens, len(query) // block_ntokens
    if isinstance(query, BlockHashes):
        assert prefix is None or isinstance(prefix, BlockHashes)
        return _of_hashes(prefix, query, block_ntokens, count)
    assert prefix is None or isinstance(prefix, TokenListView)
    return _of_tokens(prefix, query, block_ntokens)[first : first + count]


def _of_tokens(prefix: TokenListView | None, query: TokenListView, block_ntokens: int) -> list[bytes]:
    if prefix is not None and len(prefix):
        if prefix.array is not query.array or prefix.stop != query.start:
            tokens = np.concatenate((prefix.to_numpy(), query.to_numpy()))
            return reprise.block_keys(tokens, block_ntokens)
        start = prefix.start
    else:
        start = query.start
    # All of the array is hashed at once, and once: the next views of it find their keys here.
    keys: dict[Any, list[bytes]] = query.meta.keys
    slot = (_SLOT, block_ntokens, start)
    found = keys.get(slot)
    if found is None:
        found = keys[slot] = reprise.block_keys(query.array[start:], block_ntokens)
    return found


def _of_hashes(prefix: BlockHashes | None, query: BlockHashes, block_ntokens: int, count: int) -> list[bytes]:
    per_block, rest = divmod(block_ntokens, query.block_ntokens)
    if rest or not per_block:
        raise ValueError(f"hashes of {query.block_ntokens} tokens do not make up blocks of {block_ntokens}")
    hashes = query.hashes
    parts = (hashes[i * per_block : (i + 1) * per_block] for i in range(count))
    # An engine's hash stands for all blocks before it too, so the hashes of one block are enough.
    return [hashlib.sha256("\0".join(part).encode()).digest()[:16] for part in parts]
