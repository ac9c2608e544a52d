"""The namespace of a manager's blocks: who may share with whom."""

from __future__ import annotations

import reprise

from . import envs
from .config import KVCacheConfig

UNNAMED = "unnamed"


def key_scheme() -> tuple[reprise.KeyScheme, str]:
    """How tokens become keys, and its name in connection identifiers."""
    builder = envs.AIBRIX_KV_CACHE_OL_L2_CACHE_KEY_BUILDER
    return {
        "": (reprise.KeyScheme.SHA256, "sha"),
        "ROLLING_HASH": (reprise.KeyScheme.FARM_ROLLING, "ro"),
        "SIMPLE_HASH": (reprise.KeyScheme.FARM_SIMPLE, "sim"),
        # A raw key is all tokens up to the block's end; the core's keys have 16 bytes, so it is their fingerprint.
        "RAW": (reprise.KeyScheme.FARM_SIMPLE, "raw"),
    }[builder]


def model_of(config: KVCacheConfig) -> str:
    return config.model or envs.AIBRIX_KV_CACHE_OL_MODEL or UNNAMED


def namespace_of(config: KVCacheConfig, footer_nbytes: int) -> reprise.Namespace:
    """Everything two engines must agree in before one may use what the other stored."""
    spec = config.block_spec
    heads, layers = spec.tensor_spec.heads, spec.tensor_spec.layers
    extras = {
        "api": "aibrix",
        "name": envs.AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE,
        "head_size": str(spec.tensor_spec.head_size),
        "keys": key_scheme()[1],
    }
    for what, ids in (("heads", heads), ("layers", layers)):
        if list(ids) != list(range(min(ids), max(ids) + 1)):
            extras[what] = ",".join(map(str, ids))
    if footer_nbytes:
        extras["footer"] = "tokens"
    return reprise.Namespace(
        model=model_of(config),
        revision="none",
        dtype=str(spec.block_dtype).removeprefix("torch."),
        layout=spec.block_layout.name.lower(),
        block_tokens=spec.block_ntokens,
        block_bytes=spec.block_nbytes + footer_nbytes,
        layers=range(min(layers), max(layers) + 1),
        heads=range(min(heads), max(heads) + 1),
        salt="",
        extras=extras,
    )


def connection_id(config: KVCacheConfig) -> str:
    """The name of the manager's part of an L2, in directories: as the original spells it."""
    spec = config.block_spec
    heads, layers = spec.tensor_spec.heads, spec.tensor_spec.layers
    form = "ex" if envs.AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED else "c"
    return (
        f"{envs.AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE}_h{heads[0]}_{heads[-1]}_l{layers[0]}_{layers[-1]}"
        f"_{spec.signature}{key_scheme()[1]}{form}"
    )
