"""Hashes that an engine made of its blocks, as keys of the cache."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, TypeAlias

from ._token_view import KeysMeta, KVCacheIds
from .common.cached_pyobject import CachedPyObjectBase

BlockHashList: TypeAlias = list[str]


def is_block_hash_list_type(data: Any) -> bool:
    """Whether ``data`` is a list of strings and nothing else."""
    if not isinstance(data, list):
        return False
    kinds = set(map(type, data))
    return kinds <= {str} or all(issubclass(kind, str) for kind in kinds)


def _refusal(data: Any) -> TypeError:
    if not isinstance(data, list):
        return TypeError(f"block hashes must be a list of str, got {type(data).__name__}")
    position, other = next((i, item) for i, item in enumerate(data) if not isinstance(item, str))
    return TypeError(f"block hashes must be a list of str, got {other!r} at position {position}")


class BlockHashes(CachedPyObjectBase, KVCacheIds):
    """A run of blocks of ``block_ntokens`` tokens each, by the hashes the engine has for them.

    A hash must stand for its block and all blocks before it, as engines chain them. Lengths and slices are in tokens;
    slices must begin and end at a block (AssertionError), and share ``meta`` and the strings. An index is that of a
    block. TypeError unless ``data`` is a list of str, which is checked once and copied; ValueError unless block_ntokens
    is positive.
    """

    __slots__ = ("_data", "_hash", "_meta_", "_start", "_stop", "block_ntokens")

    _data: BlockHashList
    _start: int
    _stop: int
    _meta_: KeysMeta
    _hash: int | None
    block_ntokens: int

    def __init__(self, data: BlockHashList, block_ntokens: int) -> None:
        if not is_block_hash_list_type(data):
            raise _refusal(data)
        if operator.index(block_ntokens) <= 0:
            raise ValueError(f"block_ntokens must be greater than 0, got {block_ntokens}")
        self._set(list(data), 0, len(data), block_ntokens, KeysMeta())

    def _set(self, data: BlockHashList, start: int, stop: int, block_ntokens: int, meta: KeysMeta) -> None:
        self._data = data
        self._start = start
        self._stop = stop
        self.block_ntokens = block_ntokens
        self._meta_ = meta
        self._hash = None

    def _of(self, data: BlockHashList, start: int, stop: int, meta: KeysMeta) -> BlockHashes:
        view = _new(BlockHashes)
        view._set(data, start, stop, self.block_ntokens, meta)
        return view

    @property
    def hashes(self) -> BlockHashList:
        """The hashes of the run, one per block."""
        return self._data[self._start : self._stop]

    @property
    def all_hashes(self) -> BlockHashList:
        """The whole list that this is a view of. Not to be changed."""
        return self._data

    @property
    def start(self) -> int:
        """Which block of ``all_hashes`` is the first."""
        return self._start

    @property
    def stop(self) -> int:
        """Which block of ``all_hashes`` is the first one behind the run."""
        return self._stop

    @property
    def meta(self) -> KeysMeta:
        """What all views of this list share; ``meta.keys`` holds the block keys computed so far."""
        return self._meta_

    def __len__(self) -> int:
        return (self._stop - self._start) * self.block_ntokens

    def __repr__(self) -> str:
        return f"BlockHashes(data=[len={self._stop - self._start}], block_ntokens={self.block_ntokens})"

    def _aligned(self, what: str, tokens: int) -> int:
        blocks, rest = divmod(tokens, self.block_ntokens)
        if rest:
            raise AssertionError(
                f"the {what} of a slice of block hashes must be a multiple of {self.block_ntokens} tokens, got {tokens}"
            )
        return blocks

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            tokens = (self._stop - self._start) * self.block_ntokens
            start, stop, _ = index.indices(tokens)
            first, end = self._aligned("start", start), self._aligned("stop", stop)
            step = 1 if index.step is None else self._aligned("step", index.step)
            if step == 1:
                first += self._start
                return self._of(self._data, first, max(first, self._start + end), self._meta_)
            chosen = self.hashes[first:end:step]
            return self._of(chosen, 0, len(chosen), KeysMeta())
        position = operator.index(index)
        blocks = self._stop - self._start
        if not -blocks <= position < blocks:
            raise IndexError(f"block {position} is outside of a run of {blocks} blocks")
        return self._data[self._start + position if position >= 0 else self._stop + position]

    def __add__(self, other: object) -> BlockHashes:
        """Both runs, one after the other: a view where they are neighbours in one list. ValueError if their blocks
        have different sizes."""
        if not isinstance(other, BlockHashes):
            raise TypeError(f"BlockHashes can be joined with BlockHashes only, got {type(other).__name__}")
        if self.block_ntokens != other.block_ntokens:
            raise ValueError(f"blocks of {self.block_ntokens} and of {other.block_ntokens} tokens cannot be joined")
        if self._data is other._data and self._stop == other._start:
            return self._of(self._data, self._start, other._stop, self._meta_)
        joined = self.hashes + other.hashes
        return self._of(joined, 0, len(joined), KeysMeta())

    def __iter__(self) -> Iterator[str]:
        return iter(self.hashes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockHashes) or self.block_ntokens != other.block_ntokens:
            return False
        if self._data is other._data and self._start == other._start:
            return self._stop == other._stop
        return self._stop - self._start == other._stop - other._start and self.hashes == other.hashes

    def __hash__(self) -> int:
        if self._hash is None:
            blocks = self._stop - self._start
            last = self._data[self._stop - 1] if blocks else ""
            self._hash = hash((last, blocks, self.block_ntokens))
        return self._hash

    def __reduce__(self) -> Any:
        return BlockHashes, (self.hashes, self.block_ntokens)


_new = BlockHashes.__new__
