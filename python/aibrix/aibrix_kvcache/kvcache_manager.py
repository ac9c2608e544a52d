"""What every manager offers: `BaseKVCacheManager` and `GroupAwareKVCacheManager` are the ones there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .config import KVCacheConfig
from .metrics import KVCacheMetrics
from .status import Status


@dataclass
class KVCacheFeature:
    """What a manager's L2 can do with an engine's device memory directly."""

    gdr_put: bool = False
    gdr_get: bool = False


class KVCacheManager(ABC):
    """A KV cache for one shard (its layers and heads) of a model.

    Every call takes `(prefix, query)` or one `KVCacheKey`: the blocks of `query`, which follow those of `prefix`
    (whole blocks; None or empty for the prompt's start). Both are `TokenListView`, `BlockHashes` or plain sequences of
    token ids. An incomplete last block is ignored. Answers are `Status`; counts are in tokens.
    """

    def __init__(self, config: KVCacheConfig) -> None:
        spec = config.block_spec
        self.config = config
        self.block_spec = spec
        self.block_layout = spec.block_layout
        self.block_shape = spec.block_shape
        self.block_dtype = spec.block_dtype
        self.block_ntokens = spec.block_ntokens
        self.block_nbytes = spec.block_nbytes
        self.block_shape_token_dim = spec.block_shape_token_dim

    @property
    @abstractmethod
    def feature(self) -> KVCacheFeature: ...

    @property
    @abstractmethod
    def block_size(self) -> int:
        """Tokens of a block."""

    @property
    @abstractmethod
    def chunk_size(self) -> int:
        """Tokens of a chunk of `cache_chunk_keys`."""

    @property
    @abstractmethod
    def metrics(self) -> KVCacheMetrics: ...

    def register_kvcache(self, kvcache: torch.Tensor | list[torch.Tensor]) -> Status[Any]:
        """Tells the cache about an engine's device memory."""
        return Status.ok()

    @abstractmethod
    def prefetch(self, *args: Any, **kwargs: Any) -> None:
        """Starts bringing blocks up from L2, and returns at once."""

    @abstractmethod
    def allocate_for(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """Memory of the cache to fill for these blocks, then to be given to `put`.

        There may be fewer blocks than asked for; OUT_OF_MEMORY if there are none.
        """

    @abstractmethod
    def acquire(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """The longest run of blocks right after `prefix`: tokens, and a handle of the cache's memory to read.

        The caller releases the handle. NOT_FOUND if there is no block.
        """

    @abstractmethod
    def get(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """The same, copied into the caller's handle (third argument): tokens that were copied."""

    @abstractmethod
    def exists(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """How many tokens `acquire` would find; moves nothing."""

    @abstractmethod
    def put(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """Stores the blocks of a handle (third argument), which it takes over: tokens that were stored."""

    @abstractmethod
    def delete(self, *args: Any, **kwargs: Any) -> Status[Any]:
        """Forgets the blocks in every tier."""

    def flush(self) -> Status[Any]:
        """Waits for the writes to L2; TIMEOUT after FLUSH_TIMEOUT_S, ERROR if L2 is not there to take them."""
        return Status.ok()

    @abstractmethod
    def cache_chunk_keys(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Cuts a query into chunks: (prefix of the chunk, chunk, next chunk or None, everything)."""

    @abstractmethod
    def close(self) -> None:
        """Writes out what is queued, within FLUSH_TIMEOUT_S, and ends."""
