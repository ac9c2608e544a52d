"""Reprise: the KV cache of prompts that were already computed, given back when they repeat.

    with reprise.Cache.open("embedded:", l1_capacity="4GiB") as cache:
        chain = reprise.Chain.from_tokens(ns, tokens)
        cache.put(chain, blocks)
        with cache.acquire(chain) as lease:
            use(lease[0])

docs/python.md has the rest. Importing this changes nothing in the process; `reprise.aio` has asyncio forms.
"""

from ._errors import ConfigError, DeniedError, Error, InternalError, InvalidError, IoError, VersionError
from ._native import (
    Cache,
    CacheStats,
    Chain,
    ErrorCode,
    Hold,
    KeyChain,
    KeyScheme,
    KvPieces,
    Lease,
    Match,
    MatchRule,
    Namespace,
    Reason,
    Reservation,
    Stored,
    TierStats,
    __version__,
    block_keys,
    key_from_hash,
    keys_from_hashes,
)

__all__ = [
    "Cache",
    "CacheStats",
    "Chain",
    "ConfigError",
    "DeniedError",
    "Error",
    "ErrorCode",
    "Hold",
    "InternalError",
    "InvalidError",
    "IoError",
    "KeyChain",
    "KeyScheme",
    "KvPieces",
    "Lease",
    "Match",
    "MatchRule",
    "Namespace",
    "Reason",
    "Reservation",
    "Stored",
    "TierStats",
    "VersionError",
    "__version__",
    "block_keys",
    "key_from_hash",
    "keys_from_hashes",
]
