"""The same under asyncio: many requests wait for one cache, and none of them blocks the loop."""

import asyncio

import reprise
import reprise.aio

NS = reprise.Namespace(model="example/model", revision="none", dtype="bfloat16", layout="opaque", block_tokens=16,
                       block_bytes=4096, layers=range(0, 32), heads=range(0, 8), salt="")


async def request(cache, number):
    """Finds the system prompt that all requests begin with, and stores a turn of its own. Blocks found."""
    tokens = list(range(64)) + [1000 + number] * 32
    chain = reprise.Chain.from_tokens(NS, tokens)
    out = bytearray(len(chain) * NS.block_bytes)
    found = await cache.get(chain, out, timeout=0.5)
    await cache.put(chain, bytes(len(out) - found.blocks * NS.block_bytes), start=found.blocks, timeout=0.5)
    return found.blocks


async def main():
    async with reprise.aio.open("embedded:", l1_capacity="64MiB", l2_url="mock:?delay=5ms") as cache:
        first = await request(cache, 0)
        others = await asyncio.gather(*(request(cache, number) for number in range(1, 9)))
        again = await asyncio.gather(*(request(cache, number) for number in range(1, 9)))
    print(f"found by the first {first}, by others {set(others)}, in the next turn {set(again)} of 6 blocks")


if __name__ == "__main__":
    asyncio.run(main())

# prints found by the first 0, by others {4}, in the next turn {6} of 6 blocks
