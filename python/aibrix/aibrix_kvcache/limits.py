"""Sizes that the environment gives, rounded to whole blocks."""

from __future__ import annotations

from . import envs
from .common.absl_logging import getLogger

logger = getLogger(__name__)

_LEAST_BLOCKS_PER_CHUNK = 4


def chunk_size(block_ntokens: int) -> int:
    """Tokens of a chunk: CHUNK_SIZE, rounded down to blocks, four at least."""
    asked = envs.AIBRIX_KV_CACHE_OL_CHUNK_SIZE
    size = max(asked - asked % block_ntokens, _LEAST_BLOCKS_PER_CHUNK * block_ntokens)
    if size != asked:
        logger.warning(
            "AIBRIX_KV_CACHE_OL_CHUNK_SIZE=%d is not at least %d whole blocks of %d tokens: using %d",
            asked, _LEAST_BLOCKS_PER_CHUNK, block_ntokens, size,
        )  # fmt: skip
    return size


def max_seq_len(block_ntokens: int) -> int:
    """Longest sequence `put` stores, in tokens: MAX_SEQ_LEN, rounded up to blocks; 0 for no limit."""
    asked = envs.AIBRIX_KV_CACHE_OL_MAX_SEQ_LEN
    if asked <= 0:
        return 0
    length = -(-asked // block_ntokens) * block_ntokens
    if length != asked:
        logger.warning(
            "AIBRIX_KV_CACHE_OL_MAX_SEQ_LEN=%d is not whole blocks of %d tokens: using %d", asked, block_ntokens, length
        )
    return length
