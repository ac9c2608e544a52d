"""Cutting a query into chunks of whole blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .block_keys import joined
from .cache_args import parse_kvcache_api_args
from .cache_hashable import BlockHashes, TokenListView


def chunk_keys(
    chunk_size: int, block_ntokens: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(prefix of the chunk, chunk, next chunk or None, everything), as views of one array.

    The next chunk is None where it would reach the end. Plain sequences are answered with tuples, () for None.
    """
    prefix, query, _ = parse_kvcache_api_args(*args, **kwargs)
    given = [*args, *kwargs.values()]
    plain = not any(isinstance(one, (TokenListView, BlockHashes)) for one in given) and len(given) > 1
    whole = joined(prefix, query)
    everything = tuple(whole.to_numpy().tolist()) if plain else whole
    begin = 0 if prefix is None else len(prefix)
    end_of_blocks = begin + len(query) - len(query) % block_ntokens
    while begin < end_of_blocks:
        end = begin + chunk_size
        following = everything[end : end + chunk_size] if end + chunk_size < len(whole) else () if plain else None
        yield everything[:begin], everything[begin:end], following, everything
        begin = end
