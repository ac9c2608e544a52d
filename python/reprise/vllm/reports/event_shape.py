"""How vLLM's KV events look in the version at hand: names of blocks and fields are those of its own events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vllm.distributed import kv_events
from vllm.v1.core import kv_cache_utils

_MEDIUM = "CPU"  # Behind the engine's own memory. vLLM has no word for "in memory, or on a disk behind it".


class EventShape:
    """Makes events about blocks of requests. Keeps nothing."""

    def __init__(self, hash_tokens: int, groups: Sequence[Any]) -> None:
        """hash_tokens: of one of vLLM's block hashes; groups: vLLM's KVCacheGroupSpec."""
        self._hash_tokens = hash_tokens
        self._block_tokens = [int(group.kv_cache_spec.block_size) for group in groups]
        self._kinds = [_kind(group.kv_cache_spec) for group in groups]
        self._stored_fields = frozenset(kv_events.BlockStored.__struct_fields__)
        self._removed_fields = frozenset(kv_events.BlockRemoved.__struct_fields__)
        # Integers instead of hashes, where vLLM was told so: it looks that up for every single one.
        outside: Callable[[Any], Any] = getattr(kv_cache_utils, "maybe_convert_block_hash", lambda given: given)
        self._outside = None if isinstance(outside(bytes(32)), bytes) else outside

    def stored(self, request: Any, first: int, end: int, group: int) -> Any:
        """A BlockStored of blocks [first, end)."""
        size = self._block_tokens[group]
        kind, window = self._kinds[group]
        lora = getattr(request, "lora_request", None)
        fields = {
            "block_hashes": self._hashes(request, group, first, end),
            "parent_block_hash": self._hashes(request, group, first - 1, first)[0] if first else None,
            "token_ids": list(request.all_token_ids[first * size:end * size]),
            "block_size": size,
            "lora_id": lora.adapter_id if lora else None,
            "lora_name": lora.name if lora else None,
            "medium": _MEDIUM,
            "extra_keys": _extra_keys(request, first, end, size),
            "group_idx": group,
            "kv_cache_spec_kind": kind,
            "kv_cache_spec_sliding_window": window,
            "session_id": getattr(request, "session_id", None),
        }
        return kv_events.BlockStored(**{name: fields[name] for name in fields if name in self._stored_fields})

    def removed(self, hashes: Sequence[Any], group: int) -> Any:
        """A BlockRemoved."""
        fields = {"block_hashes": list(hashes), "medium": _MEDIUM, "group_idx": group}
        return kv_events.BlockRemoved(**{name: fields[name] for name in fields if name in self._removed_fields})

    def _hashes(self, request: Any, group: int, first: int, end: int) -> list[Any]:
        """Names of blocks [first, end) of a request, as vLLM announces them. IndexError where it has not so many."""
        step = self._block_tokens[group] // self._hash_tokens
        # Each hash is of everything before it, so that the last one in a block names the block.
        hashes = request.block_hashes[(first + 1) * step - 1:end * step:step]
        if len(hashes) != end - first:
            raise IndexError(f"{len(hashes)} of {end - first} blocks have a hash")
        return list(map(self._outside, hashes)) if self._outside else list(hashes)


def _extra_keys(request: Any, first: int, end: int, size: int) -> list[Any] | None:
    """What entered the hashes of blocks beside tokens: cache salts, images."""
    generate = getattr(kv_cache_utils, "generate_block_hash_extra_keys", None)
    told = getattr(kv_cache_utils, "to_event_extra_keys", lambda keys: keys)
    if generate is None:
        return None
    keys = []
    at = 0
    for i in range(first, end):
        extra, at = generate(request, i * size, (i + 1) * size, at)
        keys.append(extra)
    out: list[Any] | None = told(keys)
    return out


def _kind(spec: Any) -> tuple[str | None, int | None]:
    try:
        from vllm.v1.kv_cache_interface import get_kv_cache_spec_kind, get_kv_cache_spec_sliding_window
    except ImportError:  # In versions that say nothing of it.
        return None, None
    return get_kv_cache_spec_kind(spec).value, get_kv_cache_spec_sliding_window(spec)
