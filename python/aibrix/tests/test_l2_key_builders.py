"""Keys for shared L2s: golden values, and views that begin anywhere."""

import numpy as np
import pytest

from aibrix_kvcache.cache_hashable import TokenListView
from aibrix_kvcache.l2.key_builders import (
    FarmHasher,
    Hasher,
    HexKeyBuilder,
    KeyBuilder,
    MD5Hasher,
    RollingHashKeyBuilder,
    SimpleHashKeyBuilder,
)
from aibrix_kvcache.l2.key_builders.rolling_hash_key_builder import hash_combine_128

NAMES = ["RAW", "HEX", "ROLLING_HASH", "SIMPLE_HASH", "CHAIN"]
GOLDEN = {  # Tokens 0 to 63 in blocks of 16.
    "ROLLING_HASH": [
        "cf1cb24e52df6d5af4f404786f434895",
        "65da3584bc4484fecdd2c1e7f119d5c3",
        "7c9a5f3fec2af26506af3df6b5c79edc",
        "92031f13820fa442dddcaa5f810f8b7f",
    ],
    "SIMPLE_HASH": [
        "cf1cb24e52df6d5af4f404786f434895",
        "e2615b145895b0ea8929e7041f5ca2dc",
        "0abd5dcf249526492c251c3455370f68",
        "3dcaef08243641b2e358fcc44723ec3d",
    ],
}


class Farm(Hasher):
    """The same hash in a class of its own, so that the builders go their slow way."""

    def hash(self, data):
        return FarmHasher().hash(data)


def keys(builder, prefix, query):
    return [key for _, key in builder.build(prefix, query)]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    tokens = TokenListView(list(range(64)))
    builder = KeyBuilder.create(name, block_size=16)
    assert [key.hex() for key in keys(builder, None, tokens)] == GOLDEN[name]
    slow = {"ROLLING_HASH": RollingHashKeyBuilder, "SIMPLE_HASH": SimpleHashKeyBuilder}[name](Farm(), 16)
    assert [key.hex() for key in keys(slow, None, tokens)] == GOLDEN[name]
    assert keys(slow, tokens[:32], tokens[32:]) == keys(builder, tokens[:32], tokens[32:])


def test_combine():
    assert hash_combine_128(1, 2) == 0x1000277000000000000013B0184D4
    assert hash_combine_128(2**128 - 1, 2**127 + 5) == 0xD000FFFD85000000000000013AFE7640


@pytest.mark.parametrize("name", NAMES)
def test_views_that_begin_anywhere(name):
    builder = KeyBuilder.create(name, block_size=16)
    array = np.arange(100, dtype=np.int32)
    everything = TokenListView(array)
    expected = keys(builder, None, TokenListView(list(range(20, 84))))
    part = everything[20:84]
    assert keys(builder, None, everything) != expected
    assert keys(builder, None, part) == expected, "a view has the keys of its tokens, not of the array's first ones"
    assert keys(builder, part[:32], part[32:]) == expected[2:]
    assert keys(builder, TokenListView(list(range(20, 52))), part[32:]) == expected[2:], "of two arrays"
    views = [view for view, _ in builder.build(part[:32], part[32:])]
    assert [list(view) for view in views] == [list(range(20, 68)), list(range(20, 84))]


@pytest.mark.parametrize("name", NAMES)
def test_block_sizes_do_not_mix(name):
    tokens = TokenListView(list(range(64)))
    first = keys(KeyBuilder.create(name, block_size=16), None, tokens)
    assert len(first) == 4
    large = keys(KeyBuilder.create(name, block_size=32), None, tokens)
    assert large == keys(KeyBuilder.create(name, block_size=32), None, TokenListView(list(range(64))))
    assert len(large) == 2 and keys(KeyBuilder.create(name, block_size=16), None, tokens) == first


@pytest.mark.parametrize("name", NAMES)
def test_tails_and_prefixes(name):
    builder = KeyBuilder.create(name, block_size=16)
    tokens = TokenListView(list(range(40)))
    assert len(builder.build(None, tokens)) == 2 and builder.build(None, tokens[:15]) == ()
    assert builder.build(tokens[:32], tokens[32:]) == ()
    with pytest.raises(AssertionError, match="a prefix of 8 tokens"):
        builder.build(tokens[:8], tokens[8:])


def test_raw_and_hex():
    tokens = TokenListView([1, -2, 3, 4])
    raw = keys(KeyBuilder.create("RAW", block_size=2), None, tokens)
    assert raw[0] == b"\x01\0\0\0\xfe\xff\xff\xff" and raw[1] == raw[0] + b"\x03\0\0\0\x04\0\0\0"
    assert keys(HexKeyBuilder(2), None, tokens) == [key.hex().encode() for key in raw]


def test_names_and_hashers():
    signatures = [KeyBuilder.create(name, block_size=16).signature for name in NAMES]
    assert signatures == ["raw", "hex", "ro", "sim", "sha"]
    with pytest.raises(ValueError, match="unknown key builder 'X'"):
        KeyBuilder.create("X", block_size=16)
    with pytest.raises(ValueError, match="block_size=0"):
        KeyBuilder.create("RAW", block_size=0)
    assert MD5Hasher().hash(b"abc") == 0x900150983CD24FB0D6963F7D28E17F72
    assert FarmHasher().hash(np.arange(16, dtype="<i4").tobytes()) == int(GOLDEN["SIMPLE_HASH"][0], 16)
    with pytest.raises(ValueError, match="3 bytes"):
        FarmHasher().hash(b"abc")
