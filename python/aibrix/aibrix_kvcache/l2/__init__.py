"""What lies behind memory, block by block and awaitable: for programs that use L2 without a manager.

A manager hands its L2 to the native cache instead, which does all of this without Python.
"""

from .key_builders import KeyBuilder
from .l2_cache import L2Cache

__all__ = ["KeyBuilder", "L2Cache"]
