"""SGLang's built-in `aibrix` backend, its own file unchanged, on our aibrix_kvcache."""

from importlib.metadata import files

import pytest

pytest.importorskip("sglang")

import torch
from sglang.srt.mem_cache.storage import StorageBackendFactory
from sglang.srt.mem_cache.utils import get_hash_str

import aibrix_kvcache

from sglang_pools import (
    MHA_LAYOUTS,
    PAGE,
    back_up,
    controller,
    filled,
    mha_pool,
    page_bytes,
    page_keys,
    prefetch,
    storage_config,
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB", "0.0625")


@pytest.fixture
def backend():
    pool = mha_pool("layer_first")
    made = StorageBackendFactory.create_backend("aibrix", storage_config(), pool)
    made.register_mem_pool_host(pool)
    yield made
    made.kv_cache_manager.close()


def pages(pool, count):
    return [pool.get_data_page(at * PAGE) for at in range(count)]


def blanks(pool, count):
    return [pool.get_dummy_flat_data_page() for _ in range(count)]


def test_the_package_is_ours():
    ours = {file.locate().resolve() for file in files("reprise-kv-aibrix") or [] if file.name == "__init__.py"}
    assert any(str(path) == aibrix_kvcache.__file__ for path in ours)


def test_pages_come_back(backend):
    pool, keys = backend_pool(backend), page_keys(10)
    assert backend.batch_exists(keys) == 0
    assert backend.batch_set(keys, pages(pool, 10)) is True
    assert backend.batch_exists(page_keys(12)) == 10
    assert backend.exists(keys[0])

    out = backend.batch_get(keys, blanks(pool, 10))

    assert all(torch.equal(page.view(torch.uint8), page_bytes(pool, at * PAGE)) for at, page in enumerate(out))


def test_one_page(backend):
    pool, key = backend_pool(backend), page_keys(1)[0]
    assert backend.get(key, blanks(pool, 1)[0]) is None
    assert backend.set(key, pages(pool, 1)[0]) is True
    assert torch.equal(backend.get(key, blanks(pool, 1)[0]).view(torch.uint8), page_bytes(pool, 0))


def test_what_is_unknown_is_not_there(backend):
    pool = backend_pool(backend)
    assert backend.batch_get(page_keys(3), blanks(pool, 3)) == [None] * 3
    assert backend.batch_exists(page_keys(3)) == 0


def backend_pool(backend):
    return backend.mem_pool_host


@pytest.mark.parametrize("layout", MHA_LAYOUTS)
def test_a_prompt_comes_back_through_sglangs_threads(layout):
    pool = mha_pool(layout, pages=310)
    control = controller(pool, "aibrix")
    try:
        tokens = list(range(300 * PAGE))
        slots = pool.alloc(len(tokens))
        before = [page_bytes(pool, slot) for slot in slots.tolist()[::PAGE]]
        assert back_up(control, slots, get_hash_str(tokens, None, page_size=PAGE)) == len(tokens)
        pool.free(slots)
        filled(pool, seed=1)

        found, count = prefetch(control, tokens)

        assert count == len(tokens)
        after = [page_bytes(pool, slot) for slot in found.tolist()[::PAGE]]
        assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    finally:
        control.storage_backend.kv_cache_manager.close()
        control.detach_storage_backend()
