"""TOKEN_VALIDATION: the tokens of a block, stored behind its bytes and compared when it comes back.

Footer, little-endian: int32 magic, int32 tokens in the block, 16 bytes of the SHA-256 chain over everything up to the
block's end, the block's tokens as int32; zeros up to a multiple of 16 bytes. So a key that collides is found out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

import reprise

from ..block_keys import Tokens, joined
from ..cache_hashable import TokenListView

MAGIC = 0x4B565450
_ALIGNMENT = 16


class TokenFooter:
    """Makes and compares the footers of one block size."""

    def __init__(self, block_ntokens: int) -> None:
        self._ntokens = block_ntokens
        used = 24 + 4 * block_ntokens
        self.nbytes = -(-used // _ALIGNMENT) * _ALIGNMENT

    def make(self, prefix: Tokens | None, query: Tokens, blocks: int) -> npt.NDArray[np.uint8]:
        """[blocks, nbytes]. AssertionError for anything but tokens."""
        assert isinstance(query, TokenListView), "TOKEN_VALIDATION needs tokens, not block hashes"
        ntokens = self._ntokens
        tokens = query.to_numpy()[: blocks * ntokens]
        whole: TokenListView = joined(prefix, query)
        keys = b"".join(reprise.block_keys(whole.to_numpy().view(np.uint32), ntokens))
        first = 16 * ((len(whole) - len(query)) // ntokens)
        keys = keys[first : first + 16 * blocks]
        footers = np.zeros((blocks, self.nbytes), np.uint8)
        footers[:, 0:4] = np.frombuffer(np.int32(MAGIC).tobytes(), np.uint8)
        footers[:, 4:8] = np.frombuffer(np.int32(ntokens).tobytes(), np.uint8)
        footers[:, 8:24] = np.frombuffer(keys, np.uint8).reshape(blocks, 16)
        footers[:, 24 : 24 + 4 * ntokens] = tokens.reshape(blocks, ntokens).view(np.uint8)
        return footers

    def write(self, slab: torch.Tensor, offsets: Sequence[int], at: int, footers: npt.NDArray[np.uint8]) -> None:
        """Writes footer i behind the `at` bytes of the block at offsets[i]; not where that is below zero."""
        memory = slab.numpy()
        for offset, footer in zip(offsets, footers, strict=False):
            if offset >= 0:
                memory[offset + at : offset + at + self.nbytes] = footer

    def matching(self, slab: torch.Tensor, offsets: Sequence[int], at: int, footers: npt.NDArray[np.uint8]) -> int:
        """How many blocks, from the first on, carry the expected footer."""
        memory = slab.numpy()
        for i, offset in enumerate(offsets):
            if not np.array_equal(memory[offset + at : offset + at + self.nbytes], footers[i]):
                return i
        return len(offsets)
