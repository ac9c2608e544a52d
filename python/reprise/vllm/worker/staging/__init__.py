"""KV tensors in the memory of a device: copied to and from the cache through page-locked memory. Needs torch."""

from .staged import StagedKv

__all__ = ["StagedKv"]
