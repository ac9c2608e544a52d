"""Faults in what names a block: bytes found under other tokens, another model, or not under their own."""

from __future__ import annotations

from pathlib import Path

from registry import defect
from rig import block_spec, l2_only, manager, must_store, read, shfs, store, tokens, view


def _sub_view(builder: str) -> None:
    """Stores a prompt that starts inside its array, as one of a batch of requests does."""
    l2_only(L2_CACHE_KEY_BUILDER=builder)
    other, prompt = tokens(2, seed=1), tokens(2, seed=2)
    with manager() as cache:
        must_store(cache, None, view(other + prompt)[32:], [1, 2])
        served = read(cache, None, view(other))
        assert served == [], f"{builder}: tokens that were never stored are served: blocks of {served}"
        served = read(cache, None, view(prompt))
        assert served == [1, 2], f"{builder}: two blocks were stored, and under their tokens there are {served}"


@defect("7", "ROLLING_HASH: a view that starts inside its array gets the keys of other tokens")
def rolling_sub_view(folder: Path) -> None:
    _sub_view("ROLLING_HASH")


@defect("18", "RAW: a view that starts inside its array gets the keys of other tokens")
def raw_sub_view(folder: Path) -> None:
    _sub_view("RAW")


@defect("18", "RAW keys on SHFS: nothing past 31 tokens can be stored")
def raw_long_keys(folder: Path) -> None:
    shfs(folder, L2_CACHE_KEY_BUILDER="RAW")
    prompt = tokens(8)
    with manager() as cache:
        store(cache, None, view(prompt), [1, 2, 3, 4, 5, 6, 7, 8])
        cache.flush()
        served = read(cache, None, view(prompt))
        assert served == [1, 2, 3, 4, 5, 6, 7, 8], f"eight blocks were stored, and acquire serves {served}"


@defect("19", "one TokenListView used with two block sizes gets the keys of the first with the second")
def two_block_sizes(folder: Path) -> None:
    l2_only(L2_CACHE_KEY_BUILDER="ROLLING_HASH")
    prompt = tokens(4)
    with manager(block_spec(16)) as small, manager(block_spec(32)) as large:
        shared = view(prompt)
        must_store(small, None, shared, [1, 2, 3, 4])
        must_store(large, None, shared, [5, 6])
        served = read(large, None, view(prompt))
        assert served == [5, 6], f"blocks of 32 tokens were stored, and under the same tokens there are {served}"


@defect("11", "keys say nothing of the data type: two models in one place serve each other's bytes")
def shared_by_two_types(folder: Path) -> None:
    shfs(folder, L2_CACHE_NAMESPACE="both")
    prompt = tokens(2)
    with manager(block_spec(dtype="float16")) as half:
        must_store(half, None, view(prompt), [1, 2])
    with manager(block_spec(dtype="bfloat16")) as brain:
        served = read(brain, None, view(prompt))
        assert served == [], f"a float16 model stored blocks, and a bfloat16 model reads them as {served}"


@defect("11", "keys say nothing of the head size: of two models of equal block bytes each finds the other's")
def shared_by_two_shapes(folder: Path) -> None:
    shfs(folder, L2_CACHE_NAMESPACE="both")
    prompt = tokens(2)
    with manager(block_spec(dtype="float32", head_size=8)) as narrow:
        must_store(narrow, None, view(prompt), [1, 2])
    with manager(block_spec(dtype="float16", head_size=16)) as wide:
        served = read(wide, None, view(prompt))
        assert served == [], f"one model stored blocks, and one of another head size reads them as {served}"


@defect("11", "two keys that differ in their prefix alone are equal")
def block_key_equality(folder: Path) -> None:
    from aibrix_kvcache import BlockHashes, KVCacheKey

    query = BlockHashes(["c" * 64], 16)
    one, two = (KVCacheKey(BlockHashes([name * 64], 16), query) for name in "ab")
    assert one != two, "KVCacheKey(a, c) == KVCacheKey(b, c)"


@defect("11", "the hash of a TokenListView has 32 bits")
def view_hash_bits(folder: Path) -> None:
    found = [hash(view(tokens(1, seed))) for seed in range(64)]
    assert any(abs(value) >> 32 for value in found), "none of 64 hashes has a bit above the 32nd"
    assert len(set(found)) == len(found), "two of 64 hashes are equal"
