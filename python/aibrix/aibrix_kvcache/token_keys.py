"""Keys of the blocks of a token array, computed once however many views are made of it."""

from __future__ import annotations

from typing import Any

import numpy as np

import reprise

from .cache_hashable import TokenListView

_SLOT = "token_keys"  # The first part of the name under which an array's `meta.keys` holds them.


def whole_view(prefix: TokenListView | None, query: TokenListView) -> TokenListView:
    """Prefix and query as one view; they are copied unless they are neighbours in one array."""
    if prefix is None or not len(prefix):
        return query
    if prefix.array is query.array and prefix.stop == query.start:
        return prefix + query
    return TokenListView(np.concatenate((prefix.to_numpy(), query.to_numpy())))


def token_keys(whole: TokenListView, block_ntokens: int, scheme: reprise.KeyScheme) -> list[bytes]:
    """16-byte keys of the complete blocks of `whole`; the list is shared and may go on beyond them.

    The chain begins where `whole` does, wherever that is in the array.
    """
    if scheme is reprise.KeyScheme.FARM_SIMPLE:  # Quadratic: not a token more than was asked for.
        return reprise.block_keys(whole.memoryview(), block_ntokens, scheme)
    keys: dict[Any, list[bytes]] = whole.meta.keys
    slot = (_SLOT, scheme, block_ntokens, whole.start)
    found = keys.get(slot)
    if found is None:
        found = keys[slot] = reprise.block_keys(whole.array[whole.start :].data, block_ntokens, scheme)
    return found
