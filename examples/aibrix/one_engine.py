"""An engine with the drop-in: prompts that share a beginning, L1 in memory, and files behind it.

    python examples/aibrix/one_engine.py

Needs the wheels reprise-kv and reprise-kv-aibrix. Every setting is a variable: docs/aibrix-environment.md.
"""

import os
import tempfile

import torch

from aibrix_kvcache import (
    BaseKVCacheManager,
    KVCacheBlockLayout,
    KVCacheBlockSpec,
    KVCacheConfig,
    KVCacheTensorSpec,
    ModelSpec,
    TokenListView,
)

SPEC = KVCacheBlockSpec(
    block_ntokens=16,
    block_dtype=torch.bfloat16,
    block_layout=KVCacheBlockLayout.LCND,
    tensor_spec=KVCacheTensorSpec(heads=list(range(4)), layers=list(range(8)), head_size=64),
)


def prefill(cache: BaseKVCacheManager, tokens: list[int]) -> int:
    """What an engine does with a prompt; answers how many tokens it had to compute itself."""
    prompt = TokenListView(tokens)
    computed = 0
    for prefix, chunk, _, _ in cache.cache_chunk_keys(None, prompt):
        found = cache.acquire(prefix, chunk)
        known = 0
        if found.is_ok():
            known, handle = found.get()
            for block in handle.to_tensors():
                assert block.shape == SPEC.block_shape  # To be copied to the device.
            handle.release()
        computed += len(chunk) - known
        rest = chunk[known:]
        if len(rest) < cache.block_size:
            continue
        room = cache.allocate_for(prompt[: len(prefix) + known], rest)
        if not room.is_ok():
            continue  # No memory is free: the blocks are simply not kept.
        handle = room.get()
        for block in handle.to_tensors():
            block.normal_()  # Stands for the KV that was computed.
        cache.put(prompt[: len(prefix) + known], rest[: len(handle) * cache.block_size], handle)
    return computed


def main() -> None:
    system, first, second = list(range(2048)), list(range(5000, 5512)), list(range(9000, 9512))
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({
            "AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB": "0.25",
            "AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND": "SHFS",
            "AIBRIX_KV_CACHE_OL_L2_CACHE_INGESTION_TYPE": "ALL",
            "AIBRIX_KV_CACHE_OL_SHFS_ROOT": folder,
            "AIBRIX_KV_CACHE_OL_MODEL": "an-example",
        })
        for engine in ("one engine", "another, later"):
            cache = BaseKVCacheManager(KVCacheConfig(SPEC, ModelSpec(max_model_len=4096), model="an-example"))
            for name, tokens in (("first", system + first), ("second", system + second)):
                print(f"{engine}: of {len(tokens)} tokens of the {name} prompt {prefill(cache, tokens)} were computed")
            cache.flush().raise_if_not_ok()
            cache.close()


if __name__ == "__main__":
    main()
