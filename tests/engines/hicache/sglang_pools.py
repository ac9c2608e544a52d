"""SGLang's own host pools and cache controller on a machine without a GPU. What stands in for the GPU is faked: the
pool of the device, of which nothing is read, and the topology."""

import hashlib
import itertools
import queue
import types

import pytest
import torch
from sglang.srt.managers.cache_controller import HiCacheController, PrefetchOperation
from sglang.srt.mem_cache.device_pool_info import KVBufferLayout, KVBuffers, MHABufferInfo, MLABufferInfo
from sglang.srt.mem_cache.hicache_storage import HiCacheStorageConfig
from sglang.srt.mem_cache.pool_host.base import host_memory_budget_scope
from sglang.srt.mem_cache.pool_host.mha import MHATokenToKVPoolHost
from sglang.srt.mem_cache.pool_host.mla import MLATokenToKVPoolHost
from sglang.srt.runtime_context import get_parallel

PAGE = 16
BUDGET = 8 << 30  # SGLang would otherwise keep 10 GB of the machine free, and refuse on smaller ones.
CPU = torch.device("cpu")
MHA_LAYOUTS = ("layer_first", "page_first", "page_first_direct", "page_head")
MLA_LAYOUTS = ("layer_first", "page_first", "page_first_direct")


def _pointers(tensors):
    return torch.tensor([tensor.data_ptr() for tensor in tensors], dtype=torch.uint64)


def mha_pool(layout, pages=160, *, layers=4, heads=2, dim=32, page=PAGE, dtype=torch.bfloat16):
    """A host pool of `pages` pages and one, filled with random bytes."""
    k, v = ([torch.zeros(page, heads, dim, dtype=dtype) for _ in range(layers)] for _ in range(2))
    info = MHABufferInfo(
        buffers=KVBuffers(k=tuple(k), v=tuple(v), k_data_ptrs=_pointers(k), v_data_ptrs=_pointers(v),
                          layout=KVBufferLayout.NHD),
        page_size=page, head_num=heads, head_dim=dim, v_head_dim=dim, dtype=dtype, device=CPU)
    with host_memory_budget_scope(BUDGET):
        pool = MHATokenToKVPoolHost(info, 1.0, 0, page, layout, pin_memory=False, device="cpu",
                                    device_capacity_tokens=pages * page, start_layer=0, end_layer=layers)
    return filled(pool)


def mla_pool(layout, pages=160, *, layers=4, rank=48, rope=16, page=PAGE, dtype=torch.bfloat16):
    """The same for latent attention: one piece of `rank + rope` values a token and layer."""
    buffers = tuple(torch.zeros(page, 1, rank + rope, dtype=dtype) for _ in range(layers))
    info = MLABufferInfo(buffers=buffers, data_ptrs=_pointers(buffers), layer_indices=tuple(range(layers)),
                         device_layer_num=layers, page_size=page, kv_lora_rank=rank, qk_rope_head_dim=rope,
                         kv_cache_dim=rank + rope, dtype=dtype, device=CPU)
    with host_memory_budget_scope(BUDGET):
        pool = MLATokenToKVPoolHost(info, 1.0, 0, page, layout, pin_memory=False, device="cpu",
                                    device_capacity_tokens=pages * page, start_layer=0, end_layer=layers,
                                    target_layer_num=layers)
    return filled(pool)


def filled(pool, seed=0):
    raw = pool.kv_buffer.view(-1).view(torch.uint8)
    raw.copy_(torch.randint(0, 256, raw.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)))
    return pool


def page_bytes(pool, index):
    """The bytes of the page that begins at token slot `index`, as SGLang itself reads them."""
    return pool.get_data_page(int(index)).view(torch.uint8).clone()


def indices(*pages, page=PAGE):
    """Token slots of these pages, one after the other."""
    return torch.cat([torch.arange(at * page, (at + 1) * page, dtype=torch.int64) for at in pages])


def page_keys(count, seed=b"prompt"):
    """SGLang's page hashes of some prompt."""
    digest, keys = b"", []
    for at in range(count):
        digest = hashlib.sha256(digest + seed + at.to_bytes(4, "little")).digest()
        keys.append(digest.hex())
    return keys


def storage_config(extra=None, *, mla=False, rank=0, ranks=1, model="a-model", layout="layer_first"):
    return HiCacheStorageConfig(
        tp_rank=rank, tp_size=ranks, pp_rank=0, pp_size=1, attn_cp_rank=0, attn_cp_size=1, is_mla_model=mla,
        enable_storage_metrics=True, is_page_first_layout=layout == "page_first", model_name=model,
        extra_config={"interface_v1": 1, **(extra or {})})


def dynamic(**settings):
    """The extra config that makes SGLang load our class."""
    return {"backend_name": "reprise", "module_path": "reprise.sglang", "class_name": "RepriseHiCache",
            "interface_v1": 1, **settings}


def controller(pool, backend, extra=None, model="a-model"):
    """SGLang's controller with its threads: prefetch, backup and their synchronisation."""
    get_parallel().override_permanently(tp_rank=0, tp_size=1, pp_rank=0, pp_size=1, attn_dcp_size=1, attn_dcp_rank=0)
    device = types.SimpleNamespace(device="cpu", layer_num=pool.layer_num,
                                   register_layer_transfer_counter=lambda counter: None)
    allocator = types.SimpleNamespace(get_kvcache=lambda: device)
    return HiCacheController(allocator, pool, pool.page_size, None, None, write_policy="write_through",
                             io_backend="direct", storage_backend=backend, prefetch_threshold=pool.page_size,
                             model_name=model, storage_backend_extra_config=dict(extra or {}))


_REQUESTS = itertools.count()


def back_up(control, host_indices, keys, timeout=60):
    """Writes pages as SGLang does after a prefill; returns how many tokens were stored."""
    control.write_storage(host_indices, [0] * len(host_indices), hash_value=list(keys))
    try:
        return control.ack_backup_queue.get(timeout=timeout).completed_tokens
    except queue.Empty:
        raise TimeoutError("the backup thread did not answer") from None


def prefetch(control, tokens, timeout=60):
    """Looks up and reads the pages of a prompt as SGLang does for a new request; returns (slots, tokens read)."""
    operation = PrefetchOperation(f"request-{next(_REQUESTS)}", tokens)
    control.prefetch_queue.put(operation)
    operation = control.prefetch_hit_queue.get(timeout=timeout)
    if not operation.hash_value:
        return None, 0
    operation.host_indices = control.mem_pool_host.alloc(len(operation.hash_value) * control.page_size)
    control.prefetch_buffer.put(operation)
    done = 0
    while True:
        ack = control.ack_prefetch_queue.get(timeout=timeout)
        done = max(done, ack.completed_tokens or 0)
        if ack.completed_req:
            return operation.host_indices, done


def pages_of(pool, at):
    return [page_bytes(pool, slot) for slot in at.tolist()[::pool.page_size]]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def every_call(backend, pool, keys):
    """The answers of each call, of keys that are not there or cannot be stored."""
    at = indices(*range(len(keys)))
    return {
        "get_v1": backend.batch_get_v1(keys, at), "set_v1": backend.batch_set_v1(keys, at),
        "exists": backend.batch_exists(keys), "one": backend.exists(keys[0]),
        "get": backend.batch_get(keys, [pool.get_dummy_flat_data_page() for _ in keys]),
        "set": backend.batch_set(keys, [pool.get_data_page(0) for _ in keys]),
        "get_one": backend.get(keys[0], pool.get_dummy_flat_data_page()),
        "set_one": backend.set(keys[0], pool.get_data_page(0)),
    }


NOTHING = {"get_v1": [False] * 5, "set_v1": [False] * 5, "exists": 0, "one": False, "get": [None] * 5, "set": False,
           "get_one": None, "set_one": False}


SMALL = {"l1_capacity": "32MiB", "l1_populate": False}
POOLS = [pytest.param(make, layout, id=f"{name}-{layout}")
         for name, make, layouts in (("mha", mha_pool, MHA_LAYOUTS), ("mla", mla_pool, MLA_LAYOUTS))
         for layout in layouts]
