"""The keys that the native cache itself uses."""

from __future__ import annotations

from collections.abc import Sequence

import reprise

from ...block_keys import packed_keys, split_keys
from ...cache_hashable import TokenListView
from .key_builder import KeyBuilder


class ChainKeyBuilder(KeyBuilder):
    """16 bytes of a SHA-256 chain over the blocks: nobody can make two prompts collide."""

    @property
    def signature(self) -> str:
        return "sha"

    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        return split_keys(packed_keys(None, whole, self.block_size, stop, reprise.KeyScheme.SHA256))[first:]
