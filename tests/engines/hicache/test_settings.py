"""Settings of reprise.sglang, and what it counts."""

import pytest

pytest.importorskip("sglang")

from sglang.srt.mem_cache.storage import StorageBackendFactory

from reprise.sglang import RepriseHiCache
from reprise.sglang.settings import SettingsError, read_settings

from sglang_pools import NOTHING, dynamic, every_call, indices, mha_pool, page_keys, storage_config


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
