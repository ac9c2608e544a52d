"""Processes and ranks that share a cache, and what comes back from disk."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("sglang")



from sglang_pools import indices, mha_pool, page_keys, pages_of, same

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
