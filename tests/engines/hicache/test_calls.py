"""The calls of reprise.sglang by themselves, on SGLang's own host pools."""

import threading

import pytest

import reprise

pytest.importorskip("sglang")

import torch
from sglang.srt.mem_cache.utils import get_hash_str

from sglang_pools import PAGE, POOLS, indices, mha_pool, mla_pool, page_keys, pages_of, same


def test_keys_are_those_of_tokens():
    tokens = list(range(3 * PAGE))
    ours = reprise.block_keys(tokens, PAGE)
    assert [bytes.fromhex(key)[:16] for key in get_hash_str(tokens, None, page_size=PAGE)] == ours


@pytest.mark.parametrize(("make", "layout"), POOLS)
def test_pointers_and_tensors_are_the_same_pages(open_backend, daemon, make, layout):
    pool, keys = make(layout), page_keys(3)
    in_place = open_backend(pool, cache_url=daemon.url)
    tensors = open_backend(pool, cache_url=daemon.url, interface_v1=0)
    assert in_place.batch_set_v1(keys, indices(0, 1, 2)) == [True] * 3

    out = tensors.batch_get(keys, [pool.get_dummy_flat_data_page() for _ in keys])

    assert tensors.batch_exists(keys) == 3
    assert same([page.view(torch.uint8) for page in out], pages_of(pool, indices(0, 1, 2)))


def test_behind_a_gap_nothing_is_loaded(open_backend):
    pool, keys = mha_pool("layer_first"), page_keys(6)
    backend = open_backend(pool)
    assert backend.batch_set_v1(keys[:2] + keys[3:], indices(0, 1, 3, 4, 5)) == [True] * 5
    before = pages_of(pool, indices(*range(10, 16)))

    assert backend.batch_exists(keys) == 2
    assert [backend.exists(key) for key in keys] == [True, True, False, True, True, True]
    assert backend.batch_get_v1(keys, indices(*range(10, 16))) == [True, True, False, False, False, False]

    after = pages_of(pool, indices(*range(10, 16)))
    assert same(after[:2], pages_of(pool, indices(0, 1)))
    assert same(after[2:], before[2:])
    pages = backend.batch_get(keys, [pool.get_dummy_flat_data_page() for _ in keys])
    assert [page is not None for page in pages] == [True, True, False, False, False, False]


def test_what_is_there_already_counts_as_stored(open_backend):
    pool, keys = mha_pool("page_first"), page_keys(4)
    backend = open_backend(pool)
    assert backend.batch_set_v1(keys[:2], indices(0, 1)) == [True, True]
    assert backend.batch_set_v1(keys, indices(0, 1, 2, 3)) == [True] * 4
    assert backend.set(keys[0], pool.get_data_page(0))


def test_what_found_no_room_is_not_said_to_be_stored(open_backend):
    pool = mha_pool("page_first")
    page = pool.get_data_page(0).nbytes
    backend, keys = open_backend(pool, l1_capacity=str(4 * page)), page_keys(12)

    stored = backend.batch_set_v1(keys, indices(*range(12)))

    assert len(stored) == 12
    assert stored == [backend.exists(key) for key in keys]
    assert 1 <= sum(stored) <= 4


@pytest.mark.parametrize(("make", "layout"), POOLS)
def test_pools_that_only_have_pointers(open_backend, daemon, make, layout):
    """Of other classes than those that are known to leave their pages where they are."""
    pool, keys = make(layout), page_keys(5)
    pool.__class__ = type("MovingPool", (type(pool),), {})
    for where in ({}, {"cache_url": daemon.url}):
        backend = open_backend(pool, **where)
        assert backend.batch_set_v1(keys, indices(4, 2, 0, 1, 3)) == [True] * 5
        assert backend.batch_get_v1(keys, indices(*range(10, 15))) == [True] * 5
        assert same(pages_of(pool, indices(*range(10, 15))), pages_of(pool, indices(4, 2, 0, 1, 3)))
    # The order of a page's bytes may be another one there: the two must not meet.
    assert not open_backend(pool, cache_url=daemon.url, interface_v1=0).exists(keys[0])


def test_slots_that_are_no_pages_are_refused(open_backend):
    pool, keys = mha_pool("page_first"), page_keys(1)
    assert open_backend(pool).batch_set_v1(keys, indices(0) + 1) == [False]
    assert open_backend(pool).batch_set_v1(keys, indices(100_000)) == [False]


def test_a_pool_of_a_layout_that_offers_nothing_is_named(open_backend, caplog):
    pool = mha_pool("page_first")
    pool.layout = "sideways"
    backend = open_backend(pool)
    assert "sideways" in caplog.text
    assert backend.batch_set_v1(page_keys(1), indices(0)) == [False]


def test_ranks_models_and_salts_do_not_meet(open_backend, daemon):
    pool, keys = mha_pool("page_first"), page_keys(1)
    first = open_backend(pool, cache_url=daemon.url, rank=0, ranks=2)
    assert first.batch_set_v1(keys, indices(0)) == [True]
    assert open_backend(pool, cache_url=daemon.url, rank=0, ranks=2).exists(keys[0])
    for other in ({"rank": 1, "ranks": 2}, {"rank": 0, "ranks": 4}, {"rank": 0, "ranks": 2, "model": "b"},
                  {"rank": 0, "ranks": 2, "salt": "s"}, {"rank": 0, "ranks": 2, "extras": {"a": "b"}},
                  {"rank": 0, "ranks": 2, "revision": "2"}):
        assert not open_backend(pool, cache_url=daemon.url, **other).exists(keys[0]), other
    direct = mha_pool("page_first_direct")
    assert not open_backend(direct, cache_url=daemon.url, rank=0, ranks=2).exists(keys[0])


def test_ranks_share_latent_attention(open_backend, daemon):
    pool, keys = mla_pool("page_first"), page_keys(2)
    assert open_backend(pool, mla=True, cache_url=daemon.url, rank=0, ranks=2).batch_set_v1(keys, indices(0, 1)) == \
        [True, True]
    other = open_backend(pool, mla=True, cache_url=daemon.url, rank=1, ranks=2)
    assert other.batch_get_v1(keys, indices(5, 6)) == [True, True]
    assert same(pages_of(pool, indices(5, 6)), pages_of(pool, indices(0, 1)))


def test_many_threads(open_backend):
    pool = mha_pool("layer_first", pages=160)
    backend = open_backend(pool)
    wrong = []

    def work(thread):
        mine, spare = range(thread * 20, thread * 20 + 10), range(thread * 20 + 10, thread * 20 + 20)
        for turn in range(20):
            keys = page_keys(10, seed=b"%d %d" % (thread, turn))
            if not all(backend.batch_set_v1(keys, indices(*mine))):
                wrong.append("not stored")
            filled_with = backend.batch_get_v1(keys, indices(*spare))
            if filled_with != [True] * 10 or not same(pages_of(pool, indices(*mine)), pages_of(pool, indices(*spare))):
                wrong.append(f"thread {thread} turn {turn}: {filled_with}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
