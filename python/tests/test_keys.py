"""Keys: what every scheme gives, packed keys, and keys of an engine's hashes."""

import hashlib

import numpy as np
import pytest

import reprise
from reprise import KeyScheme

from conftest import make_namespace

TOKENS = np.arange(64, dtype=np.int32)
FARM = {
    KeyScheme.FARM_ROLLING: ["cf1cb24e52df6d5af4f404786f434895", "65da3584bc4484fecdd2c1e7f119d5c3",
                             "7c9a5f3fec2af26506af3df6b5c79edc", "92031f13820fa442dddcaa5f810f8b7f"],
    KeyScheme.FARM_SIMPLE: ["cf1cb24e52df6d5af4f404786f434895", "e2615b145895b0ea8929e7041f5ca2dc",
                            "0abd5dcf249526492c251c3455370f68", "3dcaef08243641b2e358fcc44723ec3d"],
}


@pytest.mark.parametrize("scheme", FARM)
def test_farmhash_keys(scheme):
    assert [key.hex() for key in reprise.block_keys(TOKENS, 16, scheme)] == FARM[scheme]
    growing = reprise.KeyChain(16, scheme)
    for piece in (TOKENS[:5], TOKENS[5:37], TOKENS[37:]):
        growing.append(piece)
    assert [key.hex() for key in growing.keys] == FARM[scheme]
    chain = reprise.Chain.from_tokens(make_namespace(block_tokens=16), TOKENS, scheme=scheme)
    assert [key.hex() for key in chain.keys] == FARM[scheme]


def test_packed_keys_grow_one_buffer():
    growing, buffer = reprise.KeyChain(16), bytearray()
    for piece in (TOKENS[:40], TOKENS[40:]):
        growing.append(piece)
        buffer += growing.packed(len(buffer) // 16)
    assert bytes(buffer) == growing.packed() == b"".join(growing.keys) and len(buffer) == 64
    assert growing.packed(4) == growing.packed(1000) == b""
    ns = make_namespace()
    assert reprise.Chain(ns, memoryview(buffer)[16:48]).keys == growing.keys[1:3]
    with pytest.raises(TypeError):
        growing.packed(-1)


def hashes(count):
    return [hashlib.sha256(bytes([i])).digest() for i in range(count)]


def test_hashes_one_by_one():
    made = hashes(200)  # enough for the GIL to be released
    keys = [reprise.key_from_hash("sha256", one) for one in made]
    assert reprise.keys_from_hashes("sha256", made) == b"".join(keys)
    mixed = [made[0], bytearray(made[1]), memoryview(made[2]), np.frombuffer(made[3], dtype=np.uint8)]
    assert reprise.keys_from_hashes("sha256", mixed) == b"".join(keys[:4])
    text = [one.hex() for one in made]
    assert reprise.keys_from_hashes("sha256", tuple(text)) == b"".join(
        reprise.key_from_hash("sha256", one.encode()) for one in text)
    assert reprise.keys_from_hashes("sha256", []) == b""


def test_hashes_in_groups():
    made = hashes(7)
    keys = reprise.keys_from_hashes("sha256", made, group=3)
    assert keys == b"".join(reprise.key_from_hash("sha256", b"".join(made[i:i + 3])) for i in (0, 3))
    assert reprise.keys_from_hashes("sha256", made, group=8) == b""


def test_hashes_that_are_refused():
    with pytest.raises(reprise.DeniedError, match=r"hashes\[1\]: .*trust_hashes"):
        reprise.keys_from_hashes("sha256", [b"x" * 32, b"x" * 16])
    with pytest.raises(reprise.DeniedError, match="collide"):
        reprise.keys_from_hashes("builtin", ["x" * 32])
    assert reprise.keys_from_hashes("builtin", ["17", "4"], 2, True) == reprise.key_from_hash("builtin", b"174", True)
    with pytest.raises(reprise.InvalidError, match=r"hashes\[1\] has 33 bytes"):
        reprise.keys_from_hashes("sha256", [b"x" * 32, b"x" * 33], 2)
    with pytest.raises(reprise.InvalidError, match="group is 0"):
        reprise.keys_from_hashes("sha256", [b"x" * 32], 0)
    with pytest.raises(TypeError, match=r"hashes\[0\]: 'int'"):
        reprise.keys_from_hashes("sha256", [7])
    with pytest.raises(TypeError, match="not a single one"):
        reprise.keys_from_hashes("sha256", b"x" * 32)
    with pytest.raises(UnicodeEncodeError):
        reprise.keys_from_hashes("sha256", ["\ud800" * 32])
