"""reprise.sglang under SGLang's own threads: whole prompts back and forth."""

import pytest

pytest.importorskip("sglang")

from sglang.srt.mem_cache.hicache_storage import HiCacheStorageFailureInjector
from sglang.srt.mem_cache.utils import get_hash_str

from sglang_pools import PAGE, POOLS, SMALL, back_up, controller, dynamic, filled, mha_pool, pages_of, prefetch, same


@pytest.mark.parametrize(("make", "layout"), POOLS)
@pytest.mark.parametrize("interface", [1, 0], ids=["in_place", "tensors"])
def test_a_prompt_comes_back_byte_for_byte(open_controller, make, layout, interface):
    pool = make(layout, pages=310)
    control = open_controller(pool, interface_v1=interface)
    tokens = list(range(300 * PAGE))
    keys = get_hash_str(tokens, None, page_size=PAGE)
    slots = pool.alloc(len(tokens))
    before = pages_of(pool, slots)
    assert back_up(control, slots, keys) == len(tokens)
    pool.free(slots)
    filled(pool, seed=1)

    found, count = prefetch(control, tokens)

    assert count == len(tokens)  # In batches of 128 pages.
    assert same(pages_of(pool, found), before)


def test_an_unknown_prompt_is_not_found_and_a_longer_one_in_part(open_controller):
    pool = mha_pool("page_first")
    control = open_controller(pool)
    tokens = list(range(40 * PAGE))
    slots = pool.alloc(25 * PAGE)
    back_up(control, slots, get_hash_str(tokens, None, page_size=PAGE)[:25])
    before = pages_of(pool, slots)

    assert prefetch(control, list(range(7, 7 + 40 * PAGE))) == (None, 0)
    found, count = prefetch(control, tokens)

    assert count == 25 * PAGE
    assert same(pages_of(pool, found), before)


def test_sglangs_own_fault_injector_around_it(monkeypatch):
    monkeypatch.setenv("SGLANG_TEST_HICACHE_BACKEND_RANDOM_FAILURE", "0.5")
    pool = mha_pool("page_first")
    control = controller(pool, "dynamic", dynamic(**SMALL))
    try:
        assert isinstance(control.storage_backend, HiCacheStorageFailureInjector)
        slots = pool.alloc(4 * PAGE)
        before = pages_of(pool, slots)
        found_some = 0
        for prompt in range(60):
            tokens = list(range(prompt * 1000, prompt * 1000 + 4 * PAGE))
            stored = back_up(control, slots, get_hash_str(tokens, None, page_size=PAGE))
            assert stored in (0, 4 * PAGE)
            found, count = prefetch(control, tokens)
            assert count in (0, stored)
            if count:
                found_some += 1
                assert same(pages_of(pool, found), before)
            if found is not None:
                pool.free(found)
        assert 0 < found_some < 60
    finally:
        control.detach_storage_backend()
