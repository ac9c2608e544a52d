"""Tokens as keys."""

from __future__ import annotations

from collections.abc import Sequence

from ...cache_hashable import TokenListView
from .key_builder import KeyBuilder


class RawKeyBuilder(KeyBuilder):
    """All tokens up to the block's end, 4 bytes each, little-endian: keys grow with the prompt."""

    @property
    def signature(self) -> str:
        return "raw"

    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        data = whole.to_numpy().astype("<i4", copy=False).tobytes()
        return [data[: 4 * self.block_size * (index + 1)] for index in range(first, stop)]
