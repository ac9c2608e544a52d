"""Who may share pages with whom: the namespace of a host pool, and keys of SGLang's page hashes."""

import hashlib
from collections.abc import Sequence
from typing import Any

import reprise

from .settings import Settings

HEX_DIGITS = 64

# Pools of which each rank has its own part, also where the ranks hold the KV pool alike.
SHARDED_POOLS = frozenset({"mamba"})


def packed_keys(keys: Sequence[str]) -> bytes:
    """Block keys, 16 bytes each, one after the other.

    A page hash is the SHA-256 chain of docs/identity.md already: its first 16 bytes are the key, and so the same as
    everyone's who hashes tokens. Any other name is hashed as it is.
    """
    return b"".join([_key(key) for key in keys])


def _key(name: str) -> bytes:
    if len(name) == HEX_DIGITS:
        try:
            return bytes.fromhex(name)[:16]
        except ValueError:
            pass
    return hashlib.sha256(b"reprise-sglang-name-1\0" + name.encode()).digest()[:16]


def namespace_of(pool: Any, config: Any, settings: Settings, *, block_bytes: int, interface: str,
                 pool_name: str = "kv") -> reprise.Namespace:
    """The namespace of the pages of one rank's host pool.

    `config` is SGLang's HiCacheStorageConfig. `interface` says in which order the bytes of a page are kept. Pages that
    ranks hold alike (MLA) are shared by all of them; others carry the rank.
    """
    alike = config.is_mla_model and pool_name not in SHARDED_POOLS
    start, layers = int(getattr(pool, "start_layer", 0) or 0), int(getattr(pool, "layer_num", 1) or 1)
    heads = 1 if alike else int(getattr(pool, "head_num", 1) or 1)
    first_head = 0 if alike else config.tp_rank * heads
    return reprise.Namespace(
        model=settings.model or config.model_name or "unnamed",
        revision=settings.revision,
        dtype=str(getattr(pool, "dtype", "opaque")).removeprefix("torch."),
        layout=f"sglang-{interface}/{getattr(pool, 'layout', 'opaque')}",
        block_tokens=int(getattr(pool, "logical_page_size", pool.page_size)),
        block_bytes=block_bytes,
        layers=range(start, start + layers),
        heads=range(first_head, first_head + heads),
        salt=settings.salt,
        extras={**settings.extras, **_extras(pool, config, pool_name, alike)},
    )


def _extras(pool: Any, config: Any, pool_name: str, alike: bool) -> dict[str, str]:
    parts = {
        "engine": "sglang",
        "pool": pool_name,
        "pool_class": type(pool).__name__,
        "pp": f"{config.pp_rank}/{config.pp_size}",
        "cp": f"{config.attn_cp_rank}/{config.attn_cp_size}",
        "dcp": f"{getattr(config, 'dcp_rank', 0)}/{getattr(config, 'dcp_size', 1)}",
        "page_tokens": str(pool.page_size),
    }
    if not alike:
        parts["tp"] = f"{config.tp_rank}/{config.tp_size}"
        # Heads are laid out for a common multiple of several sizes only where this says so.
        parts["tp_lcm"] = str(getattr(config, "tp_lcm_size", None) or 0)
    for name in ("head_dim", "v_head_dim", "kv_lora_rank", "qk_rope_head_dim", "kv_cache_dim", "storage_format_tag"):
        value = getattr(pool, name, None)
        if value is not None:
            parts[name] = str(value)
    return parts
