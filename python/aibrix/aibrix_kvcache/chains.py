"""From a prefix and a query to a chain of the core."""

from __future__ import annotations

from typing import NamedTuple

import reprise

from .block_keys import KEY_BYTES, Tokens, joined, packed_keys
from .spec import KVCacheBlockSpec


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
        keys = packed_keys(prefix, query, self._ntokens, count, self._scheme)
        return Blocks(reprise.Chain(self._namespace, keys), keys, prefix, query)
