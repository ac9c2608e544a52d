"""reprise.sglang while its cache is away, slow, or wrong."""

import signal
import threading

import pytest

import reprise

pytest.importorskip("sglang")

import torch

from reprise.sglang.copying import AddressedPages
from reprise.sglang.pages import PageStore
from reprise.sglang.settings import Settings

from sglang_pools import NOTHING, every_call, indices, mha_pool, page_keys


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
