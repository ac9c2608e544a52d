"""KV-cache offloading with the API of aibrix-kvcache, over Reprise.

Importing it starts nothing and configures nothing. docs/migrate-from-aibrix-kvcache.md says what is the same, what is
better and what differs on purpose.
"""

from . import _collision

_collision.check()  # First: what follows might already be another distribution's.

# ruff: noqa: E402
from .cache_handle import GDRKVCacheHandle, KVCacheHandle, MemoryRegionKVCacheHandle
from .cache_hashable import BlockHashes, KVCacheKey, TokenListView
from .cache_manager import BaseKVCacheManager, GroupAwareKVCacheManager, KVCacheManager
from .config import KVCacheConfig
from .memory import ExternalMemoryRegion, MemoryRegion
from .metrics import KVCacheMetrics
from .spec import KVCacheBlockLayout as KVCacheBlockLayout
from .spec import KVCacheBlockSpec as KVCacheBlockSpec
from .spec import KVCacheTensorSpec as KVCacheTensorSpec
from .spec import ModelSpec as ModelSpec
from .status import Status, StatusCodes
from .version import __version__, __version_tuple__

__all__ = [
    "BaseKVCacheManager",
    "BlockHashes",
    "ExternalMemoryRegion",
    "GDRKVCacheHandle",
    "GroupAwareKVCacheManager",
    "KVCacheConfig",
    "KVCacheHandle",
    "KVCacheKey",
    "KVCacheManager",
    "KVCacheMetrics",
    "MemoryRegion",
    "MemoryRegionKVCacheHandle",
    "Status",
    "StatusCodes",
    "TokenListView",
    "__version__",
    "__version_tuple__",
]
