"""Small things that the package and its callers have in common."""

from .async_base import AsyncBase
from .cached_pyobject import CachedPyObjectBase
from .nvtx import nvtx_range
from .object_pool import ObjectPool
from .threading import ConditionalLock

__all__ = ["AsyncBase", "CachedPyObjectBase", "ConditionalLock", "ObjectPool", "nvtx_range"]
