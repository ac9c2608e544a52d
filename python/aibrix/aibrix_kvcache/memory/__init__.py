"""Memory regions with reference counts, and the pool that hands them out."""

from .allocator import CoalescingPoolAllocator, ObjectPoolAllocator, TensorPoolAllocator
from .external_memory_region import ExternalMemoryRegion
from .managed_memory_region import ManagedMemoryRegion
from .memory_region import MemoryRegion
from .ref_counted_obj import RefCountedObj

__all__ = [
    "CoalescingPoolAllocator",
    "ExternalMemoryRegion",
    "ManagedMemoryRegion",
    "MemoryRegion",
    "ObjectPoolAllocator",
    "RefCountedObj",
    "TensorPoolAllocator",
]
