"""A piece of a slab: where the bytes of one block lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .. import envs
from .ref_counted_obj import RefCountedObj

# Whether regions hold the block's bytes alone, without its tokens behind them. None: as the environment says
# (AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED); tests set it.
MR_USE_COMPACT_LAYOUT: bool | None = None


class MemoryRegion(RefCountedObj):
    """`length` bytes at offset `addr` of `slab`, a one-dimensional uint8 tensor.

    Reading and writing is not synchronised; whoever holds a reference may do either.
    """

    def __init__(self, slab: torch.Tensor, addr: int, length: int) -> None:
        super().__init__()
        self.slab = slab
        self.addr = addr
        self.length = length
        self.capacity = length
        self._cached_tensor_view: torch.Tensor | None = None
        self._cached_form: tuple[Any, Any] = (None, None)

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(addr={self.addr}, length={self.length}, capacity={self.capacity},"
            f" ref_count={self.ref_count})"
        )

    @property
    def block_nbytes(self) -> int:
        """Bytes of the block itself, without what may be packed behind it."""
        return self.length

    @staticmethod
    def use_compact_layout() -> bool:
        """True if regions hold the block's bytes alone."""
        if MR_USE_COMPACT_LAYOUT is not None:
            return MR_USE_COMPACT_LAYOUT
        return not envs.AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return int(self.slab.data_ptr()) + self.addr

    def bytes_view(self) -> torch.Tensor:
        """All bytes of the region, in place, as a uint8 tensor."""
        return self.slab[self.addr : self.addr + self.length]

    def numpy(self) -> npt.NDArray[np.uint8]:
        """All bytes in place as a numpy array. The region must be in the memory of the CPU."""
        view: npt.NDArray[np.uint8] = self.bytes_view().numpy()
        return view

    def tobytes(self) -> bytes:
        """A copy of all bytes."""
        return bytes(self.bytes_view().cpu().numpy().data)

    def fill(self, data: bytes | bytearray | memoryview) -> None:
        """Overwrites all bytes. AssertionError unless `data` is exactly as long as the region."""
        source = np.frombuffer(data, dtype=np.uint8)
        assert source.nbytes == self.length, f"{source.nbytes} bytes do not fill a region of {self.length}"
        if self.slab.device.type == "cpu":
            self.numpy()[:] = source
        else:
            self.bytes_view().copy_(torch.from_numpy(source.copy()))

    def copy(self, mr: MemoryRegion) -> None:
        """Copies the bytes of `mr` into this region. AssertionError unless both are equally long."""
        assert mr.length == self.length, f"a region of {mr.length} bytes does not fill one of {self.length}"
        self.bytes_view().copy_(mr.bytes_view())

    def to_tensor(self, mr_dtype: torch.dtype | None = None, mr_shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """The block in place, as `mr_dtype` (None: uint8) and `mr_shape` (None: flat). The last view is kept."""
        view, form = self._cached_tensor_view, (mr_dtype, mr_shape)
        if view is not None and self._cached_form == form:
            return view
        view = self.slab[self.addr : self.addr + self.block_nbytes]
        if mr_dtype is not None:
            view = view.view(mr_dtype)
        if mr_shape is not None:
            view = view.view(mr_shape)
        self._cached_form, self._cached_tensor_view = form, view
        return view

    @staticmethod
    def to_tensors(
        mrs: Sequence[MemoryRegion],
        mr_dtype: torch.dtype | None = None,
        mr_shape: tuple[int, ...] | None = None,
    ) -> Sequence[torch.Tensor]:
        """`to_tensor` of each region."""
        return [mr.to_tensor(mr_dtype, mr_shape) for mr in mrs]

    def destroy_unsafe(self) -> None:
        self._cached_tensor_view = None
