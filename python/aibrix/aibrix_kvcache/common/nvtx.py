"""NVTX ranges, under the name they had in older versions."""

from ..profiling import nvtx_range

__all__ = ["nvtx_range"]
