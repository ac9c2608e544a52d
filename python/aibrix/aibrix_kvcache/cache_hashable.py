"""Keys of the cache: what comes before (prefix) and what is asked for (query), as tokens or as block hashes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np

from ._block_hashes import BlockHashes, BlockHashList, is_block_hash_list_type
from ._token_view import KVCacheIds, TokenListView, TokenListViewMeta
from .common.cached_pyobject import CachedPyObjectBase

__all__ = [
    "BlockCacheKey",
    "BlockHashList",
    "BlockHashes",
    "KVCacheHashable",
    "KVCacheIds",
    "KVCacheKey",
    "KVCacheKeyTypes",
    "TokenCacheKey",
    "TokenListView",
    "TokenListViewMeta",
    "is_block_hash_list_type",
]

KVCacheKeyTypes: TypeAlias = TokenListView | BlockHashes


class KVCacheHashable(ABC):
    """A prefix and a query. Two are equal if prefix and query together are, whatever part of them is the query."""

    __slots__ = ()

    @property
    @abstractmethod
    def prefix(self) -> Any: ...

    @property
    @abstractmethod
    def query(self) -> Any: ...

    @abstractmethod
    def __hash__(self) -> int: ...

    @abstractmethod
    def __eq__(self, other: object) -> bool: ...

    @abstractmethod
    def __len__(self) -> int: ...


class _PairKey(KVCacheHashable, CachedPyObjectBase):
    """A prefix and a query of one kind; subclasses say how to join them. The whole is made when it is needed first."""

    __slots__ = ("_prefix", "_query", "_whole")

    _prefix: Any
    _query: Any
    _whole: Any

    def _set(self, prefix: Any, query: Any) -> None:
        self._prefix = prefix
        self._query = query
        self._whole = None

    def _all(self) -> Any:
        if self._whole is None:
            self._whole = self._joined() if self._prefix is not None and len(self._prefix) else self._query
        return self._whole

    @abstractmethod
    def _joined(self) -> Any: ...

    @property
    def prefix(self) -> Any:
        return self._prefix

    @property
    def query(self) -> Any:
        return self._query

    def __hash__(self) -> int:
        return hash(self._all())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False
        return bool(self._all() == other._all())

    def __len__(self) -> int:
        return (0 if self._prefix is None else len(self._prefix)) + len(self._query)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self._prefix}, query={self._query})"


class TokenCacheKey(_PairKey):
    """A key of tokens. Prefix and query need not be views of one array."""

    __slots__ = ()

    def __init__(self, prefix: TokenListView | None, query: TokenListView) -> None:
        self._set(prefix, query)

    def _joined(self) -> TokenListView:
        prefix, query = self._prefix, self._query
        if prefix.array is query.array and prefix.stop == query.start:
            return prefix + query
        return TokenListView(np.concatenate((prefix.to_numpy(), query.to_numpy())))


class BlockCacheKey(_PairKey):
    """A key of block hashes, of ``block_ntokens`` tokens each where they are given as plain lists."""

    __slots__ = ()

    def __init__(
        self,
        prefix: BlockHashes | BlockHashList | None,
        query: BlockHashes | BlockHashList,
        block_ntokens: int,
    ) -> None:
        if prefix is not None and not isinstance(prefix, BlockHashes):
            prefix = BlockHashes(prefix, block_ntokens)
        self._set(prefix, query if isinstance(query, BlockHashes) else BlockHashes(query, block_ntokens))

    def _joined(self) -> BlockHashes:
        return self._prefix + self._query


class KVCacheKey(KVCacheHashable):
    """A key of either kind: what comes before, None for nothing, and what is asked for.

    AssertionError if there is no query, if the two are of different kinds, or of block hashes of different sizes;
    TypeError if the query is neither a TokenListView nor BlockHashes.
    """

    __slots__ = ("_key",)

    _key: TokenCacheKey | BlockCacheKey

    def __init__(self, prefix: KVCacheKeyTypes | None, query: KVCacheKeyTypes) -> None:
        if query is None:
            raise AssertionError("the query of a key must not be None")
        if isinstance(query, TokenListView):
            if prefix is not None and not isinstance(prefix, TokenListView):
                raise AssertionError(_unlike(prefix, query))
            self._key = TokenCacheKey(prefix, query)
        elif isinstance(query, BlockHashes):
            if prefix is not None:
                if not isinstance(prefix, BlockHashes):
                    raise AssertionError(_unlike(prefix, query))
                if prefix.block_ntokens != query.block_ntokens:
                    raise AssertionError(
                        f"prefix and query have blocks of different sizes: {prefix.block_ntokens} and "
                        f"{query.block_ntokens} tokens"
                    )
            self._key = BlockCacheKey(prefix, query, query.block_ntokens)
        else:
            raise TypeError(f"a key is made of TokenListView or BlockHashes, got {type(query).__name__}")

    @property
    def prefix(self) -> Any:
        return self._key._prefix

    @property
    def query(self) -> Any:
        return self._key._query

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KVCacheKey) and self._key == other._key

    def __len__(self) -> int:
        return len(self._key)

    def __repr__(self) -> str:
        return f"KVCacheKey(prefix={self.prefix}, query={self.query})"


def _unlike(prefix: object, query: object) -> str:
    return f"prefix and query must be of one kind, got {type(prefix).__name__} and {type(query).__name__}"
