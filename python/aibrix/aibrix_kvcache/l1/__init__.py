"""The memory cache for eviction policies that are written in Python.

It has one lock and does Python work for every block: slow next to the native cache, which all policies but Python's own
use. Names that engines import are here either way.
"""

from .l1_cache import L1Cache

__all__ = ["L1Cache"]
