"""What the variables say, as options of the core."""

from __future__ import annotations

from typing import Any

from .. import envs
from ..config import KVCacheConfig
from ..l2.connectors.registry import connector_class
from ..l2.connectors.urls import l2_url as backend_url
from ..namespaces import connection_id

POLICIES = {"LRU": "lru", "FIFO": "fifo", "S3FIFO": "s3fifo", "ADAPTIVE": "adaptive"}
_GIB = 1 << 30
_MIB = 1 << 20


def l2_url(config: KVCacheConfig) -> str:
    """The store behind L1; empty for none. ValueError for a backend or a variable that cannot work."""
    if config.url is not None:
        return config.url
    backend = envs.AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND
    if not backend:
        return ""
    try:
        connector_class(backend)
    except ValueError as error:
        raise ValueError(
            f"AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND={backend}: {error}. Where engines shall share, start "
            "'python -m reprise serve', set REPRISE, and AIBRIX_KV_CACHE_OL_REPRISE_URL to where it listens"
        ) from None
    return backend_url(backend, connection_id(config))


def l2_variables() -> str:
    """The variables that a fault of L2's URL comes from."""
    backend = envs.AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND
    ours = {
        "REPRISE": "AIBRIX_KV_CACHE_OL_REPRISE_URL, AIBRIX_KV_CACHE_OL_REPRISE_TOKEN_FILE",
        "SHFS": "AIBRIX_KV_CACHE_OL_SHFS_ROOT",
        "ROCKSDB": "AIBRIX_KV_CACHE_OL_ROCKSDB_ROOT and the other AIBRIX_KV_CACHE_OL_ROCKSDB_*",
    }
    return f"AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND={backend}" + (f" with {ours[backend]}" if backend in ours else "")


def l1_capacity() -> int:
    """Bytes; 0 when L1 is off."""
    if not envs.AIBRIX_KV_CACHE_OL_L1_CACHE_ENABLED:
        return 0
    return int(envs.AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB * _GIB)


def queue_bytes(config: KVCacheConfig) -> int:
    """What may wait to be written to L2."""
    nbytes = config.block_spec.block_nbytes
    tokens = envs.AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS
    if tokens == 0:  # Writes are waited for, half of this at a time.
        return max(256 * _MIB, 64 * nbytes)
    blocks = max(tokens // config.block_spec.block_ntokens, 2 * envs.AIBRIX_KV_CACHE_OL_L2_CACHE_OP_BATCH)
    return blocks * nbytes


def seconds_per_block(config: KVCacheConfig) -> float:
    """How long L2 may take for a block of an answer."""
    return config.block_spec.block_ntokens * envs.AIBRIX_KV_CACHE_OL_L2_CACHE_PER_TOKEN_TIMEOUT_MS / 1000


def core_options(config: KVCacheConfig, capacity: int, policy: str, url: str) -> dict[str, Any]:
    """Options of `reprise.Cache.open`."""
    # Leases end with their handles. The longest time to live, so that none runs out because the process stood still.
    options: dict[str, Any] = {"l1_capacity": capacity, "l1_policy": policy, "lease_ttl": 24 * 3600}
    if url:
        longest = seconds_per_block(config) * 131_072 / config.block_spec.block_ntokens
        options |= {
            "l2_url": url,
            "l2_ingest": envs.AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_TYPE if capacity else "ALL",
            "l2_queue_bytes": queue_bytes(config),
            "l2_threads": envs.AIBRIX_KV_CACHE_OL_L2_CACHE_NUM_ASYNC_WORKERS,
            # Every call brings its own limit; this one only has to be longer.
            "l2_timeout": min(max(1.0, longest), 3600.0),
        }
    if url.startswith(("unix:", "tcp:")) and envs.AIBRIX_KV_CACHE_OL_REPRISE_TOKEN_FILE:
        options["attach_token_file"] = envs.AIBRIX_KV_CACHE_OL_REPRISE_TOKEN_FILE
    return options
