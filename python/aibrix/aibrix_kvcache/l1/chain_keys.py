"""The keys of a prompt's blocks, for an L1Cache that is used by itself."""

from __future__ import annotations

import reprise

from ..block_keys import packed_keys, split_keys
from ..cache_hashable import BlockHashes, KVCacheKeyTypes


def chain_keys(prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes, block_ntokens: int) -> list[bytes]:
    """Keys of the complete blocks of `query`, the managers' own. ValueError if the prefix does not end at a block, or a
    block hash covers more than a block or not a whole part of one.
    """
    nprefix = len(prefix) if prefix is not None else 0
    if nprefix % block_ntokens:
        raise ValueError(f"a prefix of {nprefix} tokens does not end at a block of {block_ntokens}")
    if isinstance(query, BlockHashes) and block_ntokens % query.block_ntokens:
        raise ValueError(f"hashes of {query.block_ntokens} tokens do not make up blocks of {block_ntokens}")
    count = len(query) // block_ntokens
    return split_keys(packed_keys(prefix, query, block_ntokens, count, reprise.KeyScheme.SHA256))
