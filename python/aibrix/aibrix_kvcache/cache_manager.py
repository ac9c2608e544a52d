"""The managers, under the module name they have always had."""

from .base_manager import BaseKVCacheManager
from .group import GroupAwareKVCacheManager
from .kvcache_manager import KVCacheFeature, KVCacheManager

# Set by tests of the original; memory is pinned only where there is CUDA.
TESTING_DISABLE_PIN_MEMORY = False

__all__ = ["BaseKVCacheManager", "GroupAwareKVCacheManager", "KVCacheFeature", "KVCacheManager"]
