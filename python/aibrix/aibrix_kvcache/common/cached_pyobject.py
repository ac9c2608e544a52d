"""The base class of small objects that are made by the thousand."""

from __future__ import annotations


class CachedPyObjectBase:
    """Marks classes whose objects are short-lived and many.

    It keeps no free list of its own: the interpreter's allocator has one, and is faster than any ``__del__``.
    Subclasses have ``__slots__`` instead. ``set_free_list_max_size`` is there for callers that tune one.
    """

    __slots__ = ()

    @classmethod
    def set_free_list_max_size(cls, size: int) -> None:
        """Checks ``size`` (ValueError if negative) and has no other effect."""
        if size < 0:
            raise ValueError(f"the size of a free list cannot be negative, got {size}")
