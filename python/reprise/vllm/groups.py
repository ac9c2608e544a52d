"""KV groups: the layers that share a block table, and how much of a prompt each group needs before it can go on.

A model has one group, or several: layers of full attention need all blocks, those with a sliding window only the last
ones. Blocks of different groups may cover different numbers of tokens; what is promised is counted in units of which
each group has a whole number of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _native

KEY = 16
NULL_BLOCK = 0  # vLLM's placeholder for blocks that left the window, or were never in it.
_FULL, _WINDOW = ("FullAttentionSpec", "MLAAttentionSpec"), ("SlidingWindowSpec",)
_REMEDY = "; with --disable-hybrid-kv-cache-manager vLLM may keep it as full attention, which can be cached"


@dataclass(frozen=True)
class Group:
    """One group. ValueError by `groups_of` for what cannot be cached."""

    layers: tuple[str, ...]
    kind: str
    block_tokens: int
    window: int = 0
    """Tokens that a token sees, itself included; 0: all before it."""

    def skipped(self, tokens: int) -> int:
        """Blocks at the front that are not needed once so many tokens are computed: the table has none for them."""
        return max(0, tokens - self.window + 1) // self.block_tokens if self.window else 0


@dataclass(frozen=True)
class _Part:
    """One chain of a lookup: every `stride`-th block of a group, from `offset` on."""

    group: int
    offset: int
    stride: int
    last: int
    """Only so many blocks are needed, the last ones; 0: all."""

    def held(self, run: int) -> int:
        """Blocks that a lease over a run of so many units has of it."""
        return min(run, self.last) if self.last else run


@dataclass
class Piece:
    """Blocks of one KV group in a rank's share of a lease."""

    group: int
    first: int
    """Of them in the share."""
    block_ids: list[int]
    """Where they go: ids of the group's table."""


class Groups:
    """All groups of a model, as the scheduler side asks for them and hands them out."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.all = tuple(groups)
        self.unit = math.lcm(*(group.block_tokens for group in groups))
        self.partial = len(groups) == 1 and not groups[0].window
        """What did not come may be computed alone. Otherwise vLLM has no way to go on but from the beginning."""
        self._parts = [part for i, group in enumerate(groups) for part in _parts_of(i, group, self.unit)]

    def stride(self, group: int) -> int:
        """Blocks of a group in one unit."""
        return self.unit // self.all[group].block_tokens

    def chains(self, namespaces: Sequence[Sequence[_native.Namespace]], keys: Sequence[bytearray], first: int,
               end: int) -> list[_native.Chain]:
        """What to ask for, of units [first, end). `namespaces`: by rank and group; `keys`: by group, of all blocks."""
        mine = [self._keys_of(part, keys[part.group], first, end) for part in self._parts]
        return [_native.Chain(of_rank[part.group], packed, rule=_rule(part))
                for of_rank in namespaces for part, packed in zip(self._parts, mine, strict=True)]

    def pieces(self, tables: Sequence[Sequence[int]], first: int, run: int, taken: int) -> tuple[list[Piece], bool]:
        """Where `taken` of the `run` units go that a lease holds from unit `first` on. `tables`: block ids by group.

        False where the tables do not have the very blocks that are in the lease: then nothing may be loaded.
        """
        pieces, good, at = [], True, 0
        for part in self._parts:
            held = part.held(run)
            begin = first + run - held
            wanted = [unit * part.stride + part.offset for unit in range(begin, min(begin + held, first + taken))]
            table = tables[part.group]
            ids = [table[i] for i in wanted if i < len(table)]
            good = good and len(ids) == len(wanted) and NULL_BLOCK not in ids and (taken == run or not part.last)
            pieces.append(Piece(part.group, at, ids))
            at += held
        return pieces, good

    def keys_between(self, keys: Sequence[bytearray], first: int, end: int) -> list[bytes]:
        """All keys of units [first, end), each once, in order."""
        found: dict[bytes, None] = {}
        for group, packed in enumerate(keys):
            stride = self.stride(group)
            found.update((bytes(packed[i * KEY:(i + 1) * KEY]), None) for i in range(first * stride, end * stride))
        return list(found)

    def _keys_of(self, part: _Part, keys: bytearray, first: int, end: int) -> bytes:
        if part.stride == 1:
            return bytes(keys[first * KEY:end * KEY])
        blocks = (unit * part.stride + part.offset for unit in range(first, end))
        return b"".join(bytes(keys[i * KEY:(i + 1) * KEY]) for i in blocks)


def _parts_of(index: int, group: Group, unit: int) -> list[_Part]:
    stride = unit // group.block_tokens
    if not group.window:
        return [_Part(index, offset, stride, 0) for offset in range(stride)]
    needed = max(1, -(-(group.window - 1) // group.block_tokens))
    counts = [(offset, (needed + offset) // stride) for offset in range(stride)]
    return [_Part(index, offset, stride, count) for offset, count in counts if count]


def _rule(part: _Part) -> _native.MatchRule:
    return _native.MatchRule.last(part.last) if part.last else _native.MatchRule.prefix()


def groups_of(kv_cache_config: Any) -> list[Group]:
    """The groups of vLLM's KVCacheConfig. ValueError for what its hashes do not determine, or is not understood."""
    return [_group_of(group) for group in kv_cache_config.kv_cache_groups]


def _group_of(group: Any) -> Group:
    if getattr(group, "is_eagle_group", False):
        raise ValueError("KV of a draft model depends on the token behind a block: it cannot be cached")
    spec = group.kv_cache_spec
    specs = list(getattr(spec, "kv_cache_specs", {"": spec}).values())
    for one in specs:
        if type(one).__name__ not in _FULL + _WINDOW:
            raise ValueError(f"{type(one).__name__}: KV of this kind cannot be cached in this version{_REMEDY}")
        if getattr(one, "extra_retained_tokens", 0):
            raise ValueError("KV of a draft model that is computed twice cannot be cached")
    windows = {int(one.sliding_window) if type(one).__name__ in _WINDOW else 0 for one in specs}
    if len(windows) != 1:
        raise ValueError(f"layers of one KV group have windows of {sorted(windows)} tokens")
    return Group(tuple(group.layer_names), type(specs[0]).__name__, int(spec.block_size), windows.pop())
