"""reprise.sglang, driven by SGLang's own host pools, controller and factory."""

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import reprise

pytest.importorskip("sglang")

import torch
from sglang.srt.mem_cache.hicache_storage import (
    HiCacheStorageFailureInjector,
    PoolHitPolicy,
    PoolName,
    PoolTransfer,
)
from sglang.srt.mem_cache.storage import StorageBackendFactory
from sglang.srt.mem_cache.utils import get_hash_str

from reprise.sglang import RepriseHiCache
from reprise.sglang.copying import AddressedPages
from reprise.sglang.pages import PageStore
from reprise.sglang.settings import Settings, SettingsError, read_settings

from sglang_pools import (
    MHA_LAYOUTS,
    MLA_LAYOUTS,
    PAGE,
    back_up,
    controller,
    dynamic,
    filled,
    indices,
    mha_pool,
    mla_pool,
    page_bytes,
    page_keys,
    prefetch,
    storage_config,
)

SMALL = {"l1_capacity": "32MiB", "l1_populate": False}
POOLS = [pytest.param(make, layout, id=f"{name}-{layout}")
         for name, make, layouts in (("mha", mha_pool, MHA_LAYOUTS), ("mla", mla_pool, MLA_LAYOUTS))
         for layout in layouts]


@pytest.fixture
def open_backend():
    made = []

    def make(pool, *, mla=False, **more):
        config = {name: more.pop(name) for name in ("rank", "ranks", "model") if name in more}
        backend = RepriseHiCache(storage_config({**SMALL, **more}, mla=mla, layout=pool.layout, **config), {})
        backend.register_mem_pool_host(pool)
        backend.on_host_pools_registered()
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def open_controller():
    made = []

    def make(pool, backend="dynamic", **settings):
        made.append(controller(pool, backend, dynamic(**{**SMALL, **settings})))
        return made[-1]

    yield make
    for control in made:
        control.detach_storage_backend()


def pages_of(pool, at):
    return [page_bytes(pool, slot) for slot in at.tolist()[::pool.page_size]]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# --- through SGLang's threads ---


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


# --- the calls themselves ---


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


# --- several pools ---


def several(backend, pages, policy=PoolHitPolicy.ALL_PAGES, keys=None):
    at = indices(*pages)
    return PoolTransfer(name=PoolName.INDEXER, host_indices=at, keys=keys or page_keys(len(pages)), hit_policy=policy)


@pytest.fixture
def two_pools(open_backend):
    backend = open_backend(mha_pool("page_first"))
    side = mla_pool("layer_first")
    backend.register_mem_host_pool_v2(side, PoolName.INDEXER)
    return backend, side


def test_pages_of_another_pool(two_pools):
    backend, side = two_pools
    assert backend.batch_set_v2([several(backend, [0, 1, 2])]) == {PoolName.INDEXER: [True] * 3}
    read = several(backend, [5, 6, 7, 8])
    assert backend.batch_get_v2([read]) == {PoolName.INDEXER: [True, True, True, False]}
    assert same(pages_of(side, indices(5, 6, 7)), pages_of(side, indices(0, 1, 2)))


def test_what_one_of_the_pools_lacks_cannot_be_used(two_pools):
    backend, _ = two_pools
    keys = page_keys(6)
    backend.batch_set_v1(keys[:5], indices(*range(5)))
    backend.batch_set_v2([several(backend, [0, 1], keys=keys[:2]), several(backend, [3, 4], keys=keys[3:5])])

    alone = backend.batch_exists_v2(keys, None)
    every = backend.batch_exists_v2(keys, [several(backend, [0])])
    trailing = backend.batch_exists_v2(keys, [several(backend, [0], PoolHitPolicy.TRAILING_PAGES, keys[:1])])

    assert (alone.kv_hit_pages, alone.extra_pool_hit_pages) == (5, {PoolName.KV: 5})
    assert (every.kv_hit_pages, every.restorable_prefix_pages) == (2, [1, 2])
    assert (trailing.kv_hit_pages, trailing.restorable_prefix_pages) == (5, [1, 2, 4, 5])


def test_a_pool_nobody_registered(two_pools):
    backend, _ = two_pools
    unknown = PoolTransfer(name=PoolName.MAMBA, host_indices=indices(0), keys=page_keys(1))
    assert backend.batch_set_v2([unknown, several(backend, [0])]) == \
        {PoolName.MAMBA: [False], PoolName.INDEXER: [True]}
    backend.batch_set_v1(page_keys(1), indices(0))
    assert backend.batch_exists_v2(page_keys(1), [unknown]).kv_hit_pages == 0


# --- what goes wrong ---


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


def test_a_daemon_that_is_away_is_a_cache_without_hits(open_backend, tmp_path):
    pool = mha_pool("page_first")
    backend = open_backend(pool, cache_url=f"unix://{tmp_path}/none.sock", attach_timeout="100ms")
    assert every_call(backend, pool, page_keys(5)) == NOTHING


def test_a_cache_that_raises_is_a_cache_without_hits(open_backend, monkeypatch, caplog):
    pool = mha_pool("page_first")
    backend = open_backend(pool)

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError(f"no {name} today")

    monkeypatch.setattr(backend._home, "_cache", Broken())
    assert every_call(backend, pool, page_keys(5)) == NOTHING
    assert backend.counts()["failed"] == 8
    assert caplog.text.count("no match today") + caplog.text.count("no acquire today") == 1  # Said once a minute.
    monkeypatch.undo()


def test_a_daemon_that_stops_costs_no_more_than_the_deadline(open_backend, daemon):
    pool, keys = mha_pool("page_first"), page_keys(5)
    backend = open_backend(pool, cache_url=daemon.url, lookup_timeout=0.2, load_timeout=0.2, store_timeout=0.2,
                           attach_timeout="200ms")
    assert backend.batch_set_v1(keys, indices(*range(5))) == [True] * 5
    daemon.signal(signal.SIGSTOP)
    try:
        assert every_call(backend, pool, keys) == NOTHING
    finally:
        daemon.signal(signal.SIGCONT)


def test_a_daemon_that_died_is_used_again_once_it_is_back(open_backend, daemons, tmp_path):
    pool, keys = mha_pool("page_first"), page_keys(5)
    first = daemons(folder=tmp_path)
    backend = open_backend(pool, cache_url=first.url, attach_timeout="1s")
    assert all(backend.batch_set_v1(keys, indices(*range(5))))
    first.end()
    assert every_call(backend, pool, keys) == NOTHING

    daemons(folder=tmp_path)
    for _ in range(600):
        if all(backend.batch_set_v1(keys, indices(*range(5)))):
            break
        threading.Event().wait(0.05)
    assert backend.batch_get_v1(keys, indices(*range(10, 15))) == [True] * 5


def test_wrong_arguments_are_answered_in_full_length(open_backend):
    pool, keys = mha_pool("page_first"), page_keys(3)
    backend = open_backend(pool)
    assert backend.batch_get_v1(keys, indices(0, 1)) == [False] * 3
    assert backend.batch_set_v1(keys, indices(0)) == [False] * 3
    assert backend.batch_get(keys, None) == [None] * 3
    assert backend.batch_set(keys, [torch.zeros(3), torch.zeros(4), torch.zeros(5)]) is False
    assert backend.batch_get_v1([], indices(0)[:0]) == []
    assert backend.batch_exists([]) == 0


def test_a_closed_backend_answers(open_backend):
    pool = mha_pool("page_first")
    backend = open_backend(pool)
    assert all(backend.batch_set_v1(page_keys(5), indices(*range(5))))
    backend.close()
    assert every_call(backend, pool, page_keys(5)) == NOTHING
    assert backend.clear() is False


class StaleLease:
    """A lease that ran out while its blocks were copied."""
    valid = False
    blocks = [memoryview(bytearray(b"stale"))]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return memoryview(self.blocks[index])


def test_what_was_copied_under_a_lease_that_ran_out_does_not_count():
    class Stale:
        def acquire(self, chain, timeout):
            return StaleLease()

    target = torch.zeros(5, dtype=torch.uint8)
    ns = reprise.Namespace(model="m", revision="none", dtype="d", layout="l", block_tokens=1, block_bytes=5,
                           layers=range(1), heads=range(1), salt="")
    pages = AddressedPages(1, [target.data_ptr()], [5])
    assert PageStore(Stale(), ns, Settings()).load(page_keys(1), pages) == 0
    assert bytes(target.tolist()) == b"stale"


# --- settings ---


def test_what_cannot_work_is_said_and_served_without(open_backend, caplog):
    pool = mha_pool("page_first")
    backend = open_backend(pool, l1_capacity="much")
    assert every_call(backend, pool, page_keys(5)) == NOTHING
    assert "serving without Reprise" in caplog.text
    assert "python -m reprise check" in caplog.text


def test_strict_refuses(tmp_path):
    away = {"cache_url": f"unix://{tmp_path}/none.sock", "attach_timeout": "100ms"}
    for settings in ({"l1_capacity": "much"}, away, {"l1_capacty": "1GiB"}):
        with pytest.raises(Exception, match="much|no answer|l1_capacity"):
            RepriseHiCache(storage_config({**settings, "strict": True}), {})


def test_settings_come_from_sglang_then_from_the_environment(caplog):
    environment = {"REPRISE_CACHE": "unix:///a", "REPRISE_L1_CAPACITY": "2GiB", "REPRISE_LOAD_TIMEOUT": "3",
                   "REPRISE_STRICT": "true"}
    settings = read_settings({"l1.capacity": "1GiB", "prefetch_threshold": 1, "l2_ingest": "HOT"}, environment)
    assert (settings.cache_url, settings.load_timeout, settings.strict) == ("unix:///a", 3.0, True)
    assert settings.options == {"l1_capacity": "1GiB", "l2_ingest": "HOT"}
    assert read_settings(None, {}).cache_url == "embedded:"
    read_settings({"l1_capacty": "1GiB"}, {})
    assert "did you mean 'l1_capacity'" in caplog.text
    for wrong in ({"load_timeout": "soon"}, {"load_timeout": 0}, {"extras": "a=b"}):
        with pytest.raises(SettingsError):
            read_settings(wrong, {})


# --- more than one process, more than memory ---

SECOND_PROCESS = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from sglang_pools import *
    from reprise.sglang import RepriseHiCache
    role, url = sys.argv[2:]
    for layout in "layer_first", "page_first":
        pool = mha_pool(layout)
        backend = RepriseHiCache(storage_config({"cache_url": url}, layout=layout), {})
        backend.register_mem_pool_host(pool)
        if role == "write":
            assert backend.batch_set_v1(page_keys(128), indices(*range(128))) == [True] * 128
        else:
            want = [page_bytes(pool, at * PAGE) for at in range(128)]
            filled(pool, seed=9)
            assert backend.batch_exists(page_keys(140)) == 128
            assert backend.batch_get_v1(page_keys(140), indices(*range(140))) == [True] * 128 + [False] * 12
            assert all(torch.equal(page_bytes(pool, at * PAGE), want[at]) for at in range(128))
        backend.close()
"""


def test_two_processes_share_a_daemon(daemon):
    for role in ("write", "read"):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(SECOND_PROCESS), str(Path(__file__).parent), role,
                               daemon.url], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]


def test_each_rank_has_a_folder_of_its_own(open_backend, tmp_path):
    pool, url = mha_pool("page_first"), f"disk:{tmp_path}/{{rank}}?capacity=128MiB"
    for rank in (0, 1):
        assert open_backend(pool, l2_url=url, rank=rank, ranks=2).batch_set_v1(page_keys(1), indices(0)) == [True]
    assert {folder.name for folder in tmp_path.iterdir()} == {"tp0-pp0-cp0-dp0", "tp1-pp0-cp0-dp0"}


def test_pages_come_back_from_disk(open_backend, tmp_path):
    pool, keys = mha_pool("layer_first"), page_keys(20)
    disk = {"l2_url": f"disk:{tmp_path}/tier?capacity=256MiB", "l1_capacity": "8MiB"}
    first = open_backend(pool, **disk)
    assert all(first.batch_set_v1(keys, indices(*range(20))))
    assert first._home.cache().flush(timeout=30)
    first.close()

    again = open_backend(pool, **disk)

    assert again.batch_exists(keys) == 20
    assert again.batch_get_v1(keys, indices(*range(50, 70))) == [True] * 20
    assert same(pages_of(pool, indices(*range(50, 70))), pages_of(pool, indices(*range(20))))


# --- SGLang's metrics ---


def test_metrics_are_what_happened_since_they_were_asked_for(open_backend):
    pool, keys = mha_pool("page_first"), page_keys(5)
    backend = open_backend(pool)
    backend.batch_set_v1(keys, indices(*range(5)))
    backend.batch_get_v1(keys, indices(*range(5, 10)))
    stats = backend.get_stats()
    assert (stats.backup_pgs, stats.prefetch_pgs) == ([5], [5])
    assert all(rate > 0 for rate in stats.backup_bandwidth + stats.prefetch_bandwidth)
    assert backend.get_stats().backup_pgs == []


def test_the_factory_names_what_is_wrong():
    with pytest.raises(AttributeError, match="RepriseHiCash"):
        StorageBackendFactory.create_backend(
            "dynamic", storage_config({**dynamic(), "class_name": "RepriseHiCash"}), mha_pool("page_first"))
