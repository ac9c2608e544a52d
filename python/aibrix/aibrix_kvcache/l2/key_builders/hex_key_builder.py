"""Tokens as keys that can be read."""

from __future__ import annotations

from collections.abc import Sequence

from ...cache_hashable import TokenListView
from .raw_key_builder import RawKeyBuilder


class HexKeyBuilder(RawKeyBuilder):
    """The raw key in hexadecimal digits."""

    @property
    def signature(self) -> str:
        return "hex"

    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        return [key.hex().encode() for key in super()._keys(whole, first, stop)]
