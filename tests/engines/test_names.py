"""The names and variables that deployments already have."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import reprise
from reprise.vllm.drop_in import variables as drop_in
from reprise.vllm.worker.side import WorkerSide

import harness
from harness import PATIENT, Engine, ideal, prompts_of

PREFIX = drop_in.PREFIX


def read(ranks: int = 1, **variables: str) -> drop_in.DropIn:
    return drop_in.read({PREFIX + name: value for name, value in variables.items()}, ranks)


def test_variables_become_settings() -> None:
    assert read().extra == {"l1.capacity": str(10 << 30), "l1.policy": "s3fifo"}
    assert read().scope == "aibrix"
    two = read(2, L1_CACHE_CAPACITY_GB="1.5", L1_CACHE_EVICTION_POLICY="lru", L2_CACHE_NAMESPACE="Mine")
    assert two.extra == {"l1.capacity": str(3 << 30), "l1.policy": "lru"}
    assert two.scope == "mine"
    assert "1.5 GiB for each of 2 ranks, 3 GiB" in two.notes[0]
    behind = read(L2_CACHE_BACKEND="SHFS", SHFS_ROOT="/x", L1_CACHE_ENABLED="0", L2_CACHE_INGESTION_TYPE="all")
    assert behind.extra == {"l1.capacity": str(256 << 20), "l2.url": "fs:/x", "l2.ingest": "ALL", "l2.threads": "8"}
    daemon = read(L2_CACHE_BACKEND="REPRISE", REPRISE_URL="unix:///y")
    assert daemon.extra == {"cache_url": "unix:///y"}


def test_older_variables_stand_in(tmp_path: Path) -> None:
    older = {"VINEYARD_CACHE_CPU_MEM_LIMIT_GB": "2", "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS": "team",
             "AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT": "host:9600"}
    found = drop_in.read(older, 4)
    assert found.extra["l1.capacity"] == str(8 << 30)
    assert found.scope == "team"
    assert (found.extra["l2.url"], found.extra["l2.ingest"]) == ("tcp://host:9600", "ALL")
    assert drop_in.read({**older, PREFIX + "L1_CACHE_CAPACITY_GB": "1"}, 4).extra["l1.capacity"] == str(4 << 30)
    with pytest.raises(reprise.ConfigError, match="VINEYARD_CACHE_CPU_MEM_LIMIT_GB is 'x'"):
        drop_in.read({"VINEYARD_CACHE_CPU_MEM_LIMIT_GB": "x"}, 1)
    path = tmp_path / "v.sock"
    assert "cache_url" not in drop_in.read({"AIBRIX_LLM_KV_CACHE_SOCKET": str(path)}, 1).extra
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert drop_in.read({"AIBRIX_LLM_KV_CACHE_SOCKET": str(path)}, 1).extra == {"cache_url": f"unix://{path}"}


@pytest.mark.parametrize(("variables", "said"), [
    ({"L1_CACHE_ENABLED": "0"}, "L2_CACHE_BACKEND is empty"),
    ({"L1_CACHE_CAPACITY_GB": "much"}, "L1_CACHE_CAPACITY_GB is 'much'"),
    ({"L1_CACHE_EVICTION_POLICY": "BEST"}, "LRU, FIFO, S3FIFO"),
    ({"L2_CACHE_BACKEND": "EIC"}, "there are MOCK, SHFS, ROCKSDB and REPRISE"),
])
def test_what_cannot_work_is_named(variables: dict[str, str], said: str) -> None:
    with pytest.raises(reprise.ConfigError, match=said):
        read(1, **variables)


def test_an_engine_by_an_old_name(model: Path, baseline: Callable[..., list[harness.Answer]],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of(300, 320)
    expected = baseline(prompts)
    monkeypatch.setenv(PREFIX + "L1_CACHE_CAPACITY_GB", "0.25")
    monkeypatch.setenv(PREFIX + "L1_CACHE_EVICTION_POLICY", "LRU")
    module = "aibrix_kvcache.integration.vllm.kv_connector.aibrix_offloading_connector_type1"
    with Engine(model, dict(PATIENT), name="AIBrixOffloadingConnector", module=module) as engine:
        assert engine.connector._scheduler._lookup._cache.stats().l1.capacity_bytes == 256 << 20
        assert engine.ask(prompts) == expected
        again = engine.ask(prompts)
        assert again == expected
        assert sum(a.cached for a in again) == ideal(prompts)
        with monkeypatch.context() as broken:  # A worker that cannot map the server's memory.
            broken.setattr(WorkerSide, "_open", cannot)
            for _ in range(2):
                assert engine.ask(prompts) == expected
        assert engine.ask(prompts) == expected
        assert engine.metric("reprise_failed_blocks") > 0
        assert sum(a.cached for a in engine.ask(prompts)) == ideal(prompts)


def cannot(*_: object) -> None:
    raise OSError("not in this container")


def test_two_ranks_that_know_no_variables(model: Path, monkeypatch: pytest.MonkeyPatch,
                                          caplog: pytest.LogCaptureFixture) -> None:
    """What the variables say reaches the workers, which are processes of their own, from the scheduler alone."""
    variables = {"VINEYARD_CACHE_CPU_MEM_LIMIT_GB": "0.25", "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS": "team"}
    prompts = prompts_of(300, 320)
    told = drop_in.read

    def read_there(environment: Mapping[str, str], ranks: int, **known: int) -> drop_in.DropIn:
        assert not variables.keys() & environment.keys()
        return told(variables, ranks, **known)

    monkeypatch.setattr(drop_in, "read", read_there)
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    caplog.set_level(logging.INFO, "vllm.reprise")
    with Engine(model, dict(PATIENT), name="AIBrixOffloadingConnectorV1Type3", module=None,
                tensor_parallel_size=2) as engine:
        assert engine.connector._scheduler._lookup._cache.stats().l1.capacity_bytes == 512 << 20
        assert any("0.25 GiB for each of 2 ranks, 0.5 GiB shared" in text for text in caplog.messages)
        first, again = engine.ask(prompts), engine.ask(prompts)
        assert again == first
        assert sum(a.cached for a in again) == ideal(prompts)
        assert engine.connector._scheduler._scope == "team"
