"""The forms in which a call of the cache may name what it is about."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import envs
from .cache_hashable import BlockHashes, KVCacheKey, KVCacheKeyTypes, TokenListView

_VALIDATION = "AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED"
_NAMES = ("prefix", "query", "kv_tensors")


def parse_kvcache_api_args(*args: Any, **kwargs: Any) -> tuple[KVCacheKeyTypes | None, KVCacheKeyTypes, Any]:
    """The prefix (or None), the query and the KV tensors (or None) of a call.

    Forms: (prefix, query[, kv_tensors]) and (cache_key[, kv_tensors]), by position or by keyword. Instead of
    TokenListView, prefix and query may be lists, tuples or numpy arrays of tokens, and ``query`` be called ``tokens``,
    as in older versions.

    AssertionError if one is of the wrong type, or if block hashes meet AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED;
    ValueError if there are too many or too few, or if a token does not fit 32 bits.
    """
    # The usual forms first; types are compared by identity, which is several times faster than isinstance here.
    if not kwargs and 1 <= len(args) <= 3:
        first, tensors = args[0], args[-1]
        if type(first) is KVCacheKey:
            if len(args) < 3 and type(first.query) is TokenListView:
                return first.prefix, first.query, tensors if len(args) == 2 else None
        elif len(args) > 1 and (first is None or type(first) is type(args[1])):
            if type(args[1]) is TokenListView:
                return first, args[1], tensors if len(args) == 3 else None
            if type(args[1]) is BlockHashes:
                return _checked(first, args[1], tensors if len(args) == 3 else None)
    if kwargs:
        args, kwargs = _renamed(args, kwargs)
    if "cache_key" in kwargs or (args and isinstance(args[0], KVCacheKey)):
        key, kv_tensors = _filled(("cache_key", "kv_tensors"), 1, args, kwargs)
        if not isinstance(key, KVCacheKey):
            raise AssertionError(f"cache_key must be a KVCacheKey, got {_described(key)}")
        return _checked(key.prefix, key.query, kv_tensors)
    if len(args) == 1 and "query" not in kwargs:
        raise AssertionError(f"cache_key must be a KVCacheKey, got {_described(args[0])}")
    return _checked(*_filled(_NAMES, 2, args, kwargs))


def _renamed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Without the old name of ``query``; refuses names that are none."""
    unknown = kwargs.keys() - {*_NAMES, "cache_key", "tokens"}
    if unknown:
        raise ValueError(f"Invalid arguments: no call of the cache knows {', '.join(sorted(unknown))}")
    if "tokens" in kwargs:
        if "query" in kwargs:
            raise ValueError("Invalid arguments: tokens is the old name of query, give one of them")
        kwargs = {"query" if name == "tokens" else name: value for name, value in kwargs.items()}
    return args, kwargs


def _filled(names: tuple[str, ...], needed: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The values of ``names``, the first ``needed`` of which must be there."""
    form = f"({', '.join(names[:needed])}[, kv_tensors])"
    if len(args) > len(names):
        raise ValueError(f"Invalid arguments: {len(args)} by position, at most {len(names)} in {form}")
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise ValueError(f"Invalid arguments: {name} does not belong to {form}")
        if name in values:
            raise ValueError(f"Invalid arguments: {name} is given twice, as {_described(values[name])} and by keyword")
        values[name] = value
    missing = [name for name in names[:needed] if name not in values]
    if missing:
        raise ValueError(f"Invalid arguments: {' and '.join(missing)} missing in {form}")
    return [values.get(name) for name in names]


def _checked(prefix: Any, query: Any, kv_tensors: Any) -> tuple[KVCacheKeyTypes | None, KVCacheKeyTypes, Any]:
    if type(query) is not BlockHashes or not (prefix is None or type(prefix) is BlockHashes):
        prefix, query = _viewed(prefix, query)
    if prefix is not None and isinstance(prefix, TokenListView) is not isinstance(query, TokenListView):
        raise AssertionError(
            f"prefix and query must be of one kind, got {type(prefix).__name__} and {type(query).__name__}"
        )
    if (
        isinstance(query, BlockHashes)
        and _VALIDATION in os.environ
        and envs.AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED
    ):
        raise AssertionError(
            f"AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED needs tokens as keys, got {_described(query)}"
        )
    return prefix, query, kv_tensors


def _viewed(prefix: Any, query: Any) -> tuple[Any, Any]:
    """Plain tokens as views; where both are plain, as views of one array, so that keys are computed once."""
    for name, value in (("prefix", prefix), ("query", query)):
        plain = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes, bytearray))
        if not plain and not isinstance(value, (TokenListView, BlockHashes)) and (value is not None or name == "query"):
            raise AssertionError(f"{name} must be tokens or block hashes, got {_described(value)}")
    try:
        if prefix is None or isinstance(prefix, (TokenListView, BlockHashes)):
            return prefix, query if isinstance(query, (TokenListView, BlockHashes)) else TokenListView(query)
        if len(prefix) == 0:
            return _viewed(None, query)
        if isinstance(query, (TokenListView, BlockHashes)):
            return TokenListView(prefix), query
        both = TokenListView(np.concatenate((TokenListView(prefix).to_numpy(), TokenListView(query).to_numpy())))
        return both[: len(prefix)], both[len(prefix) :]
    except TypeError as error:
        raise AssertionError(str(error)) from None


def _described(value: Any) -> str:
    return f"{reprlib.repr(value)} of type {type(value).__name__}"
