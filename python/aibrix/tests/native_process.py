"""An engine of test_two_engines.py over the native interface: `python native_process.py store|load URL`.

Writes how many blocks were stored, or found, all bytes checked.
"""

from __future__ import annotations

import sys

import reprise

BLOCK_TOKENS, BLOCK_BYTES = 4, 512


def main(call: str, url: str) -> int:
    ns = reprise.Namespace(
        model="a model", revision="none", dtype="float32", layout="mine", block_tokens=BLOCK_TOKENS,
        block_bytes=BLOCK_BYTES, layers=range(0, 2), heads=range(0, 2), salt="",
    )  # fmt: skip
    chain = reprise.Chain.from_tokens(ns, range(70))
    blocks = [bytes([i + 1]) * BLOCK_BYTES for i in range(len(chain))]
    with reprise.Cache.open(url) as cache:
        if call == "store":
            stored = cache.put(chain, blocks, timeout=30)
            assert cache.flush(timeout=30)
            return stored.accepted
        with cache.acquire(chain, timeout=30) as lease:
            assert [bytes(view) for view in lease] == blocks[: len(lease)]
            assert lease.valid
            return len(lease)


if __name__ == "__main__":
    sys.stdout.write(str(main(*sys.argv[1:])))
