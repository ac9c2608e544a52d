"""One hash over everything."""

from __future__ import annotations

from collections.abc import Sequence

import reprise

from ...block_keys import packed_keys, split_keys
from ...cache_hashable import TokenListView
from .hasher import FarmHasher, Hasher
from .key_builder import KeyBuilder


class SimpleHashKeyBuilder(KeyBuilder):
    """The hash of all tokens up to the block's end: 16 bytes, big-endian. Work is quadratic in the prompt."""

    def __init__(self, hasher: Hasher, block_size: int) -> None:
        super().__init__(block_size)
        self.hasher = hasher

    @property
    def signature(self) -> str:
        return "sim"

    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        if type(self.hasher) is FarmHasher:
            return split_keys(packed_keys(None, whole, self.block_size, stop, reprise.KeyScheme.FARM_SIMPLE))[first:]
        data = whole.to_numpy().astype("<i4", copy=False).tobytes()
        ends = (4 * self.block_size * (index + 1) for index in range(first, stop))
        return [self.hasher.hash(data[:end]).to_bytes(16, "big") for end in ends]
