"""What makes keys of tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ...block_keys import joined
from ...cache_hashable import TokenListView


class KeyBuilder(ABC):
    """Makes the keys of blocks of `block_size` tokens. Any thread may use it."""

    def __init__(self, block_size: int) -> None:
        if block_size <= 0:
            raise ValueError(f"block_size={block_size} must be positive")
        self.block_size = block_size

    @staticmethod
    def create(name: str, **kwargs: Any) -> KeyBuilder:
        """The builder of that name, made with `block_size=`: RAW, HEX, ROLLING_HASH or SIMPLE_HASH, or CHAIN, the
        SHA-256 chain that the native cache uses. ValueError for another name.
        """
        from .chain_key_builder import ChainKeyBuilder
        from .hasher import FarmHasher
        from .hex_key_builder import HexKeyBuilder
        from .raw_key_builder import RawKeyBuilder
        from .rolling_hash_key_builder import RollingHashKeyBuilder
        from .simple_hash_key_builder import SimpleHashKeyBuilder

        if name == "RAW":
            return RawKeyBuilder(**kwargs)
        if name == "HEX":
            return HexKeyBuilder(**kwargs)
        if name == "CHAIN":
            return ChainKeyBuilder(**kwargs)
        if name == "ROLLING_HASH":
            return RollingHashKeyBuilder(FarmHasher(), **kwargs)
        if name == "SIMPLE_HASH":
            return SimpleHashKeyBuilder(FarmHasher(), **kwargs)
        raise ValueError(f"unknown key builder {name!r}: there is RAW, HEX, ROLLING_HASH, SIMPLE_HASH, CHAIN")

    @property
    @abstractmethod
    def signature(self) -> str:
        """A short name of the kind of keys; keys of different kinds never share a place."""

    def build(self, prefix: TokenListView | None, query: TokenListView) -> tuple[tuple[TokenListView, bytes], ...]:
        """(all tokens up to the block's end, the block's key) of each complete block of `query`.

        The prefix must end at a block (AssertionError).
        """
        nprefix = len(prefix) if prefix is not None else 0
        assert nprefix % self.block_size == 0, f"a prefix of {nprefix} tokens and blocks of {self.block_size}"
        whole, first = joined(prefix, query), nprefix // self.block_size
        count = len(whole) // self.block_size - first
        if count <= 0:
            return ()
        ends = range(nprefix + self.block_size, nprefix + count * self.block_size + 1, self.block_size)
        return tuple((whole[:end], key) for end, key in zip(ends, self._keys(whole, first, first + count), strict=True))

    @abstractmethod
    def _keys(self, whole: TokenListView, first: int, stop: int) -> Sequence[bytes]:
        """Keys of the blocks [first, stop) of `whole`, which begins where the sequence does."""
