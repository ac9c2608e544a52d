"""KV groups without an engine: what is asked for, what a lease holds of each group and where it goes, and what is
saved of blocks that leave their window."""

from __future__ import annotations

import hashlib
import random
from types import SimpleNamespace
from typing import Any

import pytest

import reprise
from reprise.vllm.groups import KEY, Group, Groups, groups_of
from reprise.vllm.scheduler.tables import BlockTables

SIZE = 4096
FULL = Group(("0",), "FullAttentionSpec", 32)
WINDOW = Group(("1",), "SlidingWindowSpec", 32, 100)
SMALLER = Group(("1",), "SlidingWindowSpec", 16, 70)
LARGER = Group(("0",), "FullAttentionSpec", 64)

MODELS = {
    "full": [FULL], "window": [WINDOW], "both": [FULL, WINDOW],
    "two windows": [WINDOW, Group(("2",), "SlidingWindowSpec", 32, 33), FULL],
    "smaller blocks in the window": [LARGER, SMALLER], "larger blocks in the window": [
        Group(("0",), "", 16), Group(("1",), "SlidingWindowSpec", 64, 100)],
    "a window within a block": [LARGER, Group(("1",), "SlidingWindowSpec", 16, 2)],
    "two of full attention": [FULL, LARGER],
}


def namespace(group: int, block_tokens: int) -> reprise.Namespace:
    return reprise.Namespace(model="m", revision="r", dtype="d", layout="l", block_tokens=block_tokens,
                             block_bytes=SIZE, layers=range(group, group + 1), heads=range(1), salt="")


def keys_of(group: Group, tokens: int) -> bytearray:
    blocks = range(tokens // group.block_tokens)
    return bytearray(b"".join(hashlib.sha256(f"{group.block_tokens}:{i}".encode()).digest()[:KEY] for i in blocks))


def content(group: int, block: int) -> bytes:
    return bytes([group, block]) * (SIZE // 2)


def usable(group: Group, present: set[int], begin: int, end: int) -> bool:
    """Whether a token at `end` has all it sees, given what the engine has up to `begin`."""
    from_token = max(begin, end - group.window + 1) if group.window else begin
    blocks = range(from_token // group.block_tokens, -(-end // group.block_tokens))
    return all(block in present for block in blocks)


@pytest.mark.parametrize("name", MODELS)
def test_the_longest_run_is_found_and_goes_where_it_belongs(name: str) -> None:
    """Against a model that knows only which tokens a token sees."""
    groups, source = Groups(MODELS[name]), random.Random(5)
    tokens = groups.unit * 10
    keys = [keys_of(group, tokens) for group in groups.all]
    found = 0
    for _ in range(60):
        first = source.choice([0, 0, 1, 3])
        with reprise.Cache.open("embedded:", l1_capacity="4MiB") as cache:
            present = [fill(cache, i, group, packed, source) for i, (group, packed) in
                       enumerate(zip(groups.all, keys, strict=True))]
            spaces = [[namespace(i, group.block_tokens) for i, group in enumerate(groups.all)]]
            lease = cache.acquire(groups.chains(spaces, keys, first, 10))
            run = lease.match.blocks if lease.match else 0
            ends = [n for n in range(first + 1, 11) if all(
                usable(group, have, first * groups.unit, n * groups.unit)
                for group, have in zip(groups.all, present, strict=True))]
            assert run == max(ends, default=first) - first
            if run:
                check_pieces(groups, lease, first, run)
                found += 1
            lease.release()
    assert found > 10


def fill(cache: reprise.Cache, index: int, group: Group, packed: bytearray, source: random.Random) -> set[int]:
    """Stores most of the blocks; which ones."""
    blocks = len(packed) // KEY
    missing = set(source.sample(range(blocks), source.choice([0, 1, 1, 2])))
    for i in range(blocks):
        if i not in missing:
            chain = reprise.Chain(namespace(index, group.block_tokens), packed[:(i + 1) * KEY],
                                  rule=reprise.MatchRule.last(1))
            assert cache.put(chain, content(index, i), start=i).accepted == 1
    return set(range(blocks)) - missing


def check_pieces(groups: Groups, lease: reprise.Lease, first: int, run: int) -> None:
    end = (first + run) * groups.unit
    tables = [[0 if i < group.skipped(end) else 1000 * (g + 1) + i for i in range(end // group.block_tokens + 2)]
              for g, group in enumerate(groups.all)]
    pieces, good = groups.pieces(tables, first, run, run)
    assert good
    told: dict[int, set[int]] = {}
    for piece in pieces:
        for at, block_id in enumerate(piece.block_ids, piece.first):
            block = block_id - 1000 * (piece.group + 1)
            assert bytes(lease[at][:2]) == content(piece.group, block)[:2]
            told.setdefault(piece.group, set()).add(block)
    for g, group in enumerate(groups.all):  # All that the table has behind what the engine had.
        behind = max(first * groups.stride(g), group.skipped(end))
        assert told.get(g, set()) == set(range(behind, end // group.block_tokens))


def test_a_lease_that_does_not_fit_the_tables_is_not_loaded() -> None:
    groups = Groups([FULL, WINDOW])
    full, window = [1, 2, 3, 4, 5, 6], [0, 0, 7, 8, 9, 10]
    pieces, good = groups.pieces([full, window], 0, 6, 6)
    assert good and [(p.group, p.first, p.block_ids) for p in pieces] == [(0, 0, full), (1, 6, [7, 8, 9, 10])]
    assert not groups.pieces([full, [0, 0, 0, 8, 9, 10]], 0, 6, 6)[1]
    assert not groups.pieces([full, window[:5]], 0, 6, 6)[1]
    assert not groups.pieces([full, window], 0, 6, 5)[1]  # It holds the windows of six.
    pieces, good = Groups([FULL]).pieces([full], 1, 4, 3)
    assert good and [p.block_ids for p in pieces] == [[2, 3, 4]]
    assert Groups([FULL]).partial
    assert not groups.partial and not Groups([WINDOW]).partial


def request(tokens: int) -> Any:
    hashes = [hashlib.sha256(str(i).encode()).digest() for i in range(tokens // 16)]
    return SimpleNamespace(request_id="a", num_tokens=tokens, num_prompt_tokens=tokens, block_hashes=hashes,
                           prompt_embeds=None, lora_request=None)


def step(tables: BlockTables, computed: int, tokens: int, ids: tuple[list[int], ...] | None, *, new: bool = False,
         resumed: bool = False, save: bool = True) -> list[tuple[int, int, list[int]]]:
    """One in which `tokens` are computed behind `computed`: (group, first block, ids) of what is saved."""
    news = [SimpleNamespace(req_id="a", block_ids=ids, num_computed_tokens=computed)] if new else []
    cached = SimpleNamespace(req_ids=[] if new else ["a"], resumed_req_ids={"a"} if resumed else set(),
                             new_block_ids=[ids], num_computed_tokens=[computed])
    output = SimpleNamespace(scheduled_new_reqs=news, scheduled_cached_reqs=cached, num_scheduled_tokens={"a": tokens})
    return [(s.group, s.first, s.block_ids) for s in tables.advance(output, save=save)]


def tables_of(groups: list[Group], tokens: int) -> BlockTables:
    tables = BlockTables(groups, 16, "sha256", trust=False, decode=False)
    tables.track(request(tokens))
    return tables


def test_each_group_is_saved_as_its_blocks_complete() -> None:
    tables = tables_of([LARGER, SMALLER], 200)
    assert step(tables, 0, 70, ([1, 2], [11, 12, 13, 14, 15]), new=True) == [(0, 0, [1]), (1, 0, [11, 12, 13, 14])]
    assert step(tables, 70, 130, ([3, 4], [16, 17, 18, 19, 20, 21, 22, 23])) == [
        (0, 1, [2, 3]), (1, 4, [15, 16, 17, 18, 19, 20, 21, 22])]
    keys = tables.keys(request(200))
    assert [len(packed) // KEY for packed in keys] == [3, 12]


def test_a_chunk_longer_than_the_window_is_saved_whole() -> None:
    tables = tables_of([WINDOW], 600)
    ids = list(range(1, 20))
    assert step(tables, 0, 512, (ids[:16],), new=True) == [(0, 0, ids[:16])]
    assert step(tables, 512, 88, (ids[16:],)) == [(0, 16, ids[16:18])]


def test_what_has_left_the_window_is_not_saved() -> None:
    tables = tables_of([FULL, WINDOW], 600)
    full, window = list(range(1, 20)), list(range(21, 40))
    assert step(tables, 0, 300, (full[:10], window[:10]), new=True, save=False) == []
    # vLLM has freed the blocks before token 201: they may be anybody's.
    assert step(tables, 300, 100, (full[10:], window[10:])) == [(0, 0, full[:12]), (1, 6, window[6:12])]


def test_null_blocks_are_not_saved() -> None:
    tables = tables_of([FULL, WINDOW], 600)
    full, window = list(range(1, 20)), [*[0] * 7, *range(21, 33)]
    assert step(tables, 320, 280, (full, window), new=True) == [(0, 0, full[:18]), (1, 7, window[7:18])]
    tables.track(request(600))
    again = [[*range(41, 60)], [*[0] * 9, *range(61, 71)]]  # More of them than the window says.
    assert step(tables, 320, 280, (again[0], again[1]), resumed=True) == [(0, 0, again[0][:18]), (1, 9, again[1][9:18])]


def config(*specs: Any) -> Any:
    return SimpleNamespace(kv_cache_groups=[SimpleNamespace(layer_names=["0"], kv_cache_spec=spec) for spec in specs])


def spec(name: str, **fields: Any) -> Any:
    return type(name, (), {"block_size": 32, **fields})()


def test_kinds_of_kv_that_are_not_understood_are_named() -> None:
    full, window = spec("FullAttentionSpec", sliding_window=64), spec("SlidingWindowSpec", sliding_window=100)
    assert groups_of(config(full, window)) == [Group(("0",), "FullAttentionSpec", 32),
                                               Group(("0",), "SlidingWindowSpec", 32, 100)]
    for odd in ("MambaSpec", "ChunkedLocalAttentionSpec", "CrossAttentionSpec", "SlidingWindowMLASpec"):
        with pytest.raises(ValueError, match=f"{odd}.*--disable-hybrid-kv-cache-manager"):
            groups_of(config(full, spec(odd)))
    with pytest.raises(ValueError, match="computed twice"):
        groups_of(config(spec("SlidingWindowSpec", sliding_window=100, extra_retained_tokens=2)))
    uneven = {"0": full, "1": window}
    with pytest.raises(ValueError, match="windows of"):
        groups_of(config(spec("UniformTypeKVCacheSpecs", kv_cache_specs=uneven)))
