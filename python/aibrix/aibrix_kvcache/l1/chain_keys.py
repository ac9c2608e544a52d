"""The keys of a prompt's blocks: 16 bytes each, of a block and everything before it."""

from __future__ import annotations

import hashlib

import reprise

from ..cache_hashable import BlockHashes, KVCacheKeyTypes, TokenListView
from ..token_keys import token_keys, whole_view


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
    keys = token_keys(whole_view(prefix, query), block_ntokens, reprise.KeyScheme.SHA256)
    return keys[first : first + count]


def _of_hashes(prefix: BlockHashes | None, query: BlockHashes, block_ntokens: int, count: int) -> list[bytes]:
    per_block, rest = divmod(block_ntokens, query.block_ntokens)
    if rest or not per_block:
        raise ValueError(f"hashes of {query.block_ntokens} tokens do not make up blocks of {block_ntokens}")
    hashes = query.hashes
    parts = (hashes[i * per_block : (i + 1) * per_block] for i in range(count))
    # An engine's hash stands for all blocks before it too, so the hashes of one block are enough.
    return [hashlib.sha256("\0".join(part).encode()).digest()[:16] for part in parts]
