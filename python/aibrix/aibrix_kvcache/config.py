"""What a manager is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from .spec import KVCacheBlockSpec, ModelSpec


@dataclass
class KVCacheConfig:
    """Configuration of a cache manager. Everything else comes from the environment (docs/aibrix-environment.md).

    block_spec: what a block is made of.
    model_spec: limits of the model; None where the caller knows none.
    multi_threaded: whether several threads may call the manager at once.
    model: name of the model, part of the identity of every block; AIBRIX_KV_CACHE_OL_MODEL where None.
    url: what lies behind memory: a daemon (unix:///..., tcp://...) or any other `l2.url` of docs/configuration.md, ""
        for nothing; what the environment says where None.
    """

    block_spec: KVCacheBlockSpec
    model_spec: ModelSpec | None = None
    multi_threaded: bool = False
    model: str | None = field(default=None, kw_only=True)
    url: str | None = field(default=None, kw_only=True)
