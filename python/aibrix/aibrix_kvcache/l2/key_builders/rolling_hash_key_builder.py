"""A hash per block, chained."""

from __future__ import annotations

from collections.abc import Sequence

import reprise

from ...block_keys import packed_keys, split_keys
from ...cache_hashable import TokenListView
from .hasher import FarmHasher, Hasher
from .key_builder import KeyBuilder

_MASK = (1 << 128) - 1
_PRIME = (1 << 88) + 0x13B  # The prime of 128-bit FNV.


def hash_combine_128(before: int, block: int) -> int:
    """The chain's next value: docs/identity.md has the formula."""
    mixed = block + _PRIME + (before << 24) + (before >> 4)
    return ((before ^ mixed) & _MASK) * _PRIME & _MASK


class RollingHashKeyBuilder(KeyBuilder):
    """The chained hashes of all blocks up to this one: 16 bytes, big-endian."""

    def __init__(self, hasher: Hasher, block_size: int) -> None:
        super().__init__(block_size)
        self.hasher = hasher

    @property
    def signature(self) -> str:
        return "ro"

    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        if type(self.hasher) is FarmHasher:
            return split_keys(packed_keys(None, whole, self.block_size, stop, reprise.KeyScheme.FARM_ROLLING))[first:]
        data = whole.to_numpy().astype("<i4", copy=False).tobytes()
        nbytes, chained, keys = 4 * self.block_size, 0, list[bytes]()
        for index in range(stop):
            block = self.hasher.hash(data[index * nbytes : (index + 1) * nbytes])
            chained = hash_combine_128(chained, block) if index else block
            keys.append(chained.to_bytes(16, "big"))
        return keys[first:]
