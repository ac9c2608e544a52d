"""Regions over memory that somebody else owns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .memory_region import MemoryRegion


class ExternalMemoryRegion(MemoryRegion):
    """A region of the caller's memory. At the last release `on_release(slab, addr, length)` is called once.

    `depends_on` is whatever must stay alive as long as the region, a lease for example.
    """

    def __init__(
        self,
        slab: torch.Tensor,
        addr: int,
        length: int,
        on_release: Callable[[torch.Tensor, int, int], None] | None = None,
        depends_on: Any | None = None,
    ) -> None:
        super().__init__(slab, addr, length)
        self._on_release = on_release
        self.depends_on = depends_on

    def destroy_unsafe(self) -> None:
        super().destroy_unsafe()
        on_release, self._on_release, self.depends_on = self._on_release, None, None
        if on_release is not None:
            on_release(self.slab, self.addr, self.length)
