"""The cache in a program: offer the blocks of a prompt, find them again, copied out and in place."""

import reprise

ns = reprise.Namespace(model="example/model", revision="none", dtype="bfloat16", layout="opaque", block_tokens=16,
                       block_bytes=4096, layers=range(0, 32), heads=range(0, 8), salt="")

with reprise.Cache.open("embedded:", l1_capacity="64MiB") as cache:
    prompt = list(range(50))
    chain = reprise.Chain.from_tokens(ns, prompt)  # Three complete blocks; the last two tokens are left out.
    blocks = [bytes([i + 1]) * ns.block_bytes for i in range(len(chain))]
    stored = cache.put(chain, blocks)
    print(f"stored {stored.accepted} blocks")

    longer = reprise.Chain.from_tokens(ns, prompt[:32] + [7] * 32)  # Begins alike, goes on otherwise.
    out = bytearray(len(longer) * ns.block_bytes)
    found = cache.get(longer, out, timeout=0.05)
    assert out[: found.blocks * ns.block_bytes] == b"".join(blocks[: found.blocks])
    print(f"copied {found.blocks} of {len(longer)} blocks, then {found.reason.name}")

    with cache.acquire(chain, timeout=0.05) as lease:
        first_bytes = [view[0] for view in lease]
        assert lease.valid  # Asked after the last read.
    print(f"read in place, the blocks begin with {first_bytes}")

# prints stored 3 blocks
# prints copied 2 of 4 blocks, then MISS
# prints read in place, the blocks begin with [1, 2, 3]
