"""What both sides of every pair work on: sizes, and tokens that are the same in every process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """One workload. Sizes in tokens, blocks and bytes; `prompts` of them are worked on in turn."""

    tokens: int
    block_tokens: int
    block_bytes: int
    prompts: int
    capacity: int

    @property
    def blocks(self) -> int:
        return self.tokens // self.block_tokens


# A prompt of 32,768 tokens, and room for eight of them.
LONG = Shape(tokens=32_768, block_tokens=16, block_bytes=4 << 10, prompts=1, capacity=64 << 20)
LONG_QUICK = Shape(tokens=2_048, block_tokens=16, block_bytes=4 << 10, prompts=1, capacity=4 << 20)
# Four prompts of 32 MiB: four times what the last-level cache of most machines holds.
WIDE = Shape(tokens=256, block_tokens=16, block_bytes=2 << 20, prompts=4, capacity=512 << 20)
WIDE_QUICK = Shape(tokens=32, block_tokens=16, block_bytes=2 << 20, prompts=2, capacity=32 << 20)


def prompt(shape: Shape, seed: int) -> list[int]:
    """Tokens as an engine has them; those of two seeds agree in no block."""
    base = 1_000 + (seed * shape.tokens) % 2_000_000_000
    return list(range(base, base + shape.tokens))


def block_hashes(shape: Shape, seed: int) -> list[str]:
    """A hash for every block, as an engine has them: hex of a SHA-256 over the one before it and the tokens."""
    tokens, before, hashes = prompt(shape, seed), b"", []
    for start in range(0, shape.tokens, shape.block_tokens):
        block = b"".join(token.to_bytes(4, "little") for token in tokens[start : start + shape.block_tokens])
        before = hashlib.sha256(before + block).digest()
        hashes.append(before.hex())
    return hashes
