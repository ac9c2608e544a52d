import logging
import os
import pathlib
import subprocess
import sys

import pytest

from aibrix_kvcache import _env_table, envs

PREFIX = "AIBRIX_KV_CACHE_OL_"
DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs" / "aibrix-environment.md"

# Types and defaults as the original has them; the key builder is the one that differs on purpose.
DEFAULTS = {
    "DOUBLE_GET_THRESHOLD": (4, 0.1),
    "BLOCK_SIZE": -1,
    "CHUNK_SIZE": 512,
    "MAX_SEQ_LEN": -1,
    "TIME_MEASUREMENT_ENABLED": True,
    "BREAKDOWN_MEASUREMENT_ENABLED": True,
    "TOKEN_VALIDATION_ENABLED": False,
    "L1_CACHE_ENABLED": True,
    "L1_CACHE_EVICTION_POLICY": "S3FIFO",
    "L1_CACHE_CAPACITY_GB": 10.0,
    "DEVICE": "cpu",
    "S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD": 1,
    "S3FIFO_SMALL_FIFO_CAPACITY_RATIO": 0.3,
    "L2_CACHE_BACKEND": "",
    "L2_CACHE_NAMESPACE": "aibrix",
    "L2_CACHE_COMPRESSION": "",
    "L2_CACHE_OP_BATCH": 32,
    "L2_CACHE_PER_TOKEN_TIMEOUT_MS": 20,
    "L2_CACHE_PLACEMENT_POLICY": "SIMPLE",
    "L2_CACHE_KEY_BUILDER": "",
    "L2_CACHE_INGESTION_TYPE": "HOT",
    "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": 0,
    "L2_CACHE_NUM_ASYNC_WORKERS": 8,
    "META_SERVICE_BACKEND": "",
    "META_SERVICE_REFRESH_INTERVAL_S": 30,
    "META_SERVICE_URL": "",
    "META_SERVICE_CLUSTER_META_KEY": "",
    "MOCK_USE_RDMA": False,
    "MOCK_USE_MPUT_MGET": False,
    "MOCK_USE_GDR_PUT": False,
    "MOCK_USE_GDR_GET": False,
    "MOCK_USE_NOOP": False,
    "ROCKSDB_ROOT": os.path.expanduser("~/.kv_cache_ol/rocksdb"),
    "ROCKSDB_TTL_S": 600,
    "ROCKSDB_WRITE_BUFFER_SIZE": 64 << 20,
    "ROCKSDB_TARGET_FILE_SIZE_BASE": 64 << 20,
    "ROCKSDB_MAX_WRITE_BUFFER_NUMBER": 3,
    "ROCKSDB_MAX_TOTAL_WAL_SIZE": 128 << 20,
    "ROCKSDB_MAX_BACKGROUND_JOBS": 8,
    "INFINISTORE_HOST_ADDR": "127.0.0.1",
    "INFINISTORE_SERVICE_PORT": 12345,
    "INFINISTORE_CONNECTION_TYPE": "RDMA",
    "INFINISTORE_IB_PORT": 1,
    "INFINISTORE_LINK_TYPE": "Ethernet",
    "INFINISTORE_VISIBLE_DEV_LIST": [],
    "INFINISTORE_USE_GDR": True,
    "HPKV_REMOTE_ADDR": "127.0.0.1",
    "HPKV_REMOTE_PORT": 12346,
    "HPKV_LOCAL_ADDR": "127.0.0.1",
    "HPKV_LOCAL_PORT": 12345,
    "HPKV_USE_GDR": True,
    "PRISKV_REMOTE_ADDR": "127.0.0.1",
    "PRISKV_REMOTE_PORT": 6379,
    "PRISKV_USE_MPUT_MGET": False,
    "PRISKV_USE_ZERO_COPY": False,
    "PRISKV_PASSWORD": "",
    "TRANSPORT_RDMA_ADDR_RANGE": "::/0",
    "PROFILING_ENABLED": False,
    "PROFILING_SERVER_ADDRESS": "http://0.0.0.0:4040",
    "EIC_CONFIG_FILE": "",
    "SHFS_ROOT": os.path.expanduser("~/.kv_cache_ol/shfs"),
    # ours
    "MODEL": "",
    "REPRISE_URL": "unix:///run/reprise/reprise.sock",
    "REPRISE_TOKEN_FILE": "",
    "GROUP_TIMEOUT_S": 60.0,
    "FLUSH_TIMEOUT_S": 60.0,
    # of older versions
    "L1_CACHE_EVICT_SIZE": 16,
    "L1_CACHE_PIN_MEMORY": True,
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in list(os.environ):
        if name.startswith((PREFIX, "VLLM_AIBRIX_")):
            monkeypatch.delenv(name)


def test_defaults():
    expected = {PREFIX + name: value for name, value in DEFAULTS.items()} | {
        "VLLM_AIBRIX_SYNC_GRANULARITY": "PER_OP",
        "VLLM_AIBRIX_SIDE_CHANNEL_PORT": 6667,
        "VLLM_AIBRIX_TYPE3_USE_LAYER_WISE_SAVE": True,
    }
    found = {name: getattr(envs, name) for name in _env_table.VARIABLES}
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in expected.items()}
    assert {name: read() for name, read in envs.kv_cache_ol_environment_variables.items()} == expected


def test_names_are_unique():
    names = [n for _, section in _env_table.SECTIONS for v in section for n in (v.name, *v.aliases)]
    assert len(names) == len(set(names))


def test_values_are_read_each_time(monkeypatch):
    monkeypatch.setenv(PREFIX + "CHUNK_SIZE", "64")
    assert envs.AIBRIX_KV_CACHE_OL_CHUNK_SIZE == 64
    monkeypatch.setenv(PREFIX + "CHUNK_SIZE", "128")
    assert envs.AIBRIX_KV_CACHE_OL_CHUNK_SIZE == 128


def test_unknown_names():
    with pytest.raises(AttributeError, match="CHUNK_SISE"):
        _ = envs.AIBRIX_KV_CACHE_OL_CHUNK_SISE
    assert PREFIX + "CHUNK_SIZE" in dir(envs)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("L1_CACHE_ENABLED", " True ", True),
        ("L1_CACHE_ENABLED", "0", False),
        ("DOUBLE_GET_THRESHOLD", "0", (0,)),
        ("DOUBLE_GET_THRESHOLD", " 8 , 0.5 ", (8, 0.5)),
        ("L2_CACHE_INGESTION_TYPE", "evicted", "EVICTED"),
        ("L2_CACHE_KEY_BUILDER", "rolling_hash", "ROLLING_HASH"),
        ("L2_CACHE_BACKEND", " pris ", "PRIS"),
        ("L2_CACHE_NAMESPACE", "Mine", "mine"),
        ("INFINISTORE_LINK_TYPE", "ETHERNET", "Ethernet"),
        ("INFINISTORE_VISIBLE_DEV_LIST", "mlx5_0, mlx5_1:3,", ["mlx5_0", "mlx5_1:3"]),
        ("L1_CACHE_CAPACITY_GB", "0.5", 0.5),
        ("SHFS_ROOT", "~/x", os.path.expanduser("~/x")),
        ("GROUP_TIMEOUT_S", "2.5", 2.5),
    ],
)
def test_values(monkeypatch, name, text, value):
    monkeypatch.setenv(PREFIX + name, text)
    assert getattr(envs, PREFIX + name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("L1_CACHE_ENABLED", "maybe"),
        ("CHUNK_SIZE", "0"),
        ("CHUNK_SIZE", "512.0"),
        ("CHUNK_SIZE", ""),
        ("DOUBLE_GET_THRESHOLD", "4,0.1,3"),
        ("DOUBLE_GET_THRESHOLD", "-4"),
        ("L2_CACHE_INGESTION_TYPE", "EVICT"),
        ("L2_CACHE_BACKEND", "REDIS"),
        ("L2_CACHE_KEY_BUILDER", "HEX"),
        ("S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD", "4"),
        ("S3FIFO_SMALL_FIFO_CAPACITY_RATIO", "1"),
        ("L1_CACHE_CAPACITY_GB", "nan"),
        ("L1_CACHE_CAPACITY_GB", "-1"),
        ("FLUSH_TIMEOUT_S", "inf"),
        ("FLUSH_TIMEOUT_S", "0"),
        ("HPKV_LOCAL_PORT", "70000"),
    ],
)
def test_values_that_are_none(monkeypatch, name, text):
    monkeypatch.setenv(PREFIX + name, text)
    with pytest.raises(ValueError) as caught:
        getattr(envs, PREFIX + name)
    said = str(caught.value)
    assert said.startswith(f"{PREFIX}{name}: {text!r} is not allowed")
    assert said.endswith(_env_table.VARIABLES[PREFIX + name].parser.allowed)


def test_older_names(monkeypatch):
    monkeypatch.setenv(PREFIX + "PRIS_REMOTE_PORT", "1000")
    assert envs.AIBRIX_KV_CACHE_OL_PRISKV_REMOTE_PORT == 1000
    assert envs.is_set(PREFIX + "PRISKV_REMOTE_PORT")
    monkeypatch.setenv(PREFIX + "PRISKV_REMOTE_PORT", "2000")
    assert envs.AIBRIX_KV_CACHE_OL_PRISKV_REMOTE_PORT == 2000
    monkeypatch.setenv(PREFIX + "L1_CACHE_DEVICE", "CUDA")
    assert envs.AIBRIX_KV_CACHE_OL_DEVICE == "cuda"
    monkeypatch.setenv(PREFIX + "L1_CACHE_CAPACITY_GB", "5")
    monkeypatch.setenv(PREFIX + "PRIS_REMOTE_PORT", "none")
    monkeypatch.delenv(PREFIX + "PRISKV_REMOTE_PORT")
    with pytest.raises(ValueError, match="PRIS_REMOTE_PORT: 'none'"):
        _ = envs.AIBRIX_KV_CACHE_OL_PRISKV_REMOTE_PORT


def reported(caplog):
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        envs.report(logging.getLogger("aibrix_kvcache.test"))
    return caplog.messages


def test_the_report_says_what_has_no_effect(monkeypatch, caplog):
    for name, text in [
        ("CHUNK_SIZE", "64"),
        ("DEVICE", "cpu"),
        ("L1_CACHE_EVICT_SIZE", "4"),
        ("PRIS_PASSWORD", "hunter2"),
        ("L2_CACHE_BACKENDS", "MOCK"),
    ]:
        monkeypatch.setenv(PREFIX + name, text)
    messages = reported(caplog)
    assert len(messages) == 3
    assert messages[0].startswith(PREFIX + "L1_CACHE_EVICT_SIZE is set and has no effect: exactly as many")
    assert messages[1].startswith(PREFIX + "PRIS_PASSWORD is set and has no effect: there is no PRISKV")
    assert messages[2].endswith(f"the nearest is {PREFIX}L2_CACHE_BACKEND")
    assert not any("hunter2" in message for message in messages)
    monkeypatch.setenv(PREFIX + "DEVICE", "cuda")
    assert any("DEVICE is set and has no effect: the cache keeps blocks" in message for message in reported(caplog))


def test_the_report_is_silent_where_nothing_is_set(caplog):
    assert reported(caplog) == []


def test_the_report_refuses_values_that_matter(monkeypatch, caplog):
    monkeypatch.setenv(PREFIX + "HPKV_LOCAL_PORT", "none")
    assert len(reported(caplog)) == 1
    monkeypatch.setenv(PREFIX + "L2_CACHE_INGESTION_TYPE", "EVICT")
    with pytest.raises(ValueError, match="INGESTION_TYPE: 'EVICT' is not allowed, expected one of HOT, ALL, EVICTED"):
        reported(caplog)


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "aibrix_kvcache.envs", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_page_is_up_to_date():
    made = run("--markdown")
    assert made.returncode == 0
    assert DOCS.read_text() == made.stdout, "run python -m aibrix_kvcache.envs --markdown >docs/aibrix-environment.md"


def test_the_command_line_shows_values_but_no_password():
    shown = run(**{PREFIX + "CHUNK_SIZE": "64", PREFIX + "PRIS_PASSWORD": "hunter2"})
    assert f"{PREFIX}CHUNK_SIZE=64  [{PREFIX}CHUNK_SIZE]\n" in shown.stdout
    assert "hunter2" not in shown.stdout
    wrong = run(**{PREFIX + "CHUNK_SIZE": "many"})
    assert wrong.returncode == 1
    assert "'many'" in wrong.stderr
    assert run("--html").returncode == 2
