"""Every documented variable of older deployments changes what the connector does, or the log says why it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import reprise
from reprise.vllm.drop_in import variables as drop_in
from reprise.vllm.scheduler.flush import Flusher
from reprise.vllm.settings import Settings

import harness
from harness import PATIENT, Engine, ideal, prompts_of

PREFIX = drop_in.PREFIX
DOCUMENT = Path(__file__).parents[2] / "docs" / "aibrix-environment.md"
OLDER = ("VINEYARD_CACHE_CPU_MEM_LIMIT_GB", "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS", "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE",
         "AIBRIX_LLM_KV_CACHE_SOCKET", "AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT", "VINEYARD_CACHE_ENABLE_ASYNC_UPDATE",
         "VINEYARD_CACHE_METRICS_ENABLED")
SHFS = {PREFIX + "L2_CACHE_BACKEND": "SHFS"}
ROCKSDB = {PREFIX + "L2_CACHE_BACKEND": "ROCKSDB"}
REMOTE = {PREFIX + "L2_CACHE_BACKEND": "REPRISE"}
# A value that is not the default, and what else must be set for it to matter. Others have no effect, whatever they are.
EFFECTS: dict[str, tuple[str, dict[str, str]]] = {
    "L1_CACHE_ENABLED": ("0", SHFS), "L1_CACHE_CAPACITY_GB": ("2", {}), "L1_CACHE_EVICTION_POLICY": ("LRU", {}),
    "L2_CACHE_BACKEND": ("SHFS", {}), "L2_CACHE_NAMESPACE": ("team", {}), "L2_CACHE_INGESTION_TYPE": ("ALL", SHFS),
    "L2_CACHE_NUM_ASYNC_WORKERS": ("3", SHFS), "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": ("4096", SHFS),
    "L2_CACHE_PER_TOKEN_TIMEOUT_MS": ("7", {}), "MODEL": ("mine", {}), "FLUSH_TIMEOUT_S": ("9", {}),
    "REPRISE_URL": ("unix:///x", REMOTE), "REPRISE_TOKEN_FILE": ("/x", REMOTE), "SHFS_ROOT": ("/x", SHFS),
    "ROCKSDB_ROOT": ("/x", ROCKSDB), "ROCKSDB_TTL_S": ("60", ROCKSDB),
    "ROCKSDB_WRITE_BUFFER_SIZE": ("1048576", ROCKSDB),
    "ROCKSDB_TARGET_FILE_SIZE_BASE": ("1048576", ROCKSDB), "ROCKSDB_MAX_WRITE_BUFFER_NUMBER": ("4", ROCKSDB),
    "ROCKSDB_MAX_TOTAL_WAL_SIZE": ("1048576", ROCKSDB), "ROCKSDB_MAX_BACKGROUND_JOBS": ("4", ROCKSDB),
    "VINEYARD_CACHE_CPU_MEM_LIMIT_GB": ("2", {}), "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS": ("team", {}),
    "AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT": ("host:9600", {}), "VINEYARD_CACHE_ENABLE_ASYNC_UPDATE": ("0", {}),
    "PROFILING_ENABLED": ("1", {}), "PROFILING_SERVER_ADDRESS": ("http://x:4040", {PREFIX + "PROFILING_ENABLED": "1"}),
}


def documented() -> list[str]:
    names = re.findall(r"^\| `([A-Z0-9_]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    aliases = re.findall(r"Also as `([A-Z0-9_]+)`", DOCUMENT.read_text())
    return [*names, *aliases, *OLDER]


def whole(name: str) -> str:
    return name if name.startswith(("VLLM_", "VINEYARD_", "AIBRIX_")) else PREFIX + name


def read(environment: dict[str, str]) -> drop_in.DropIn:
    return drop_in.read(environment, 2, block_tokens=32, token_bytes=1536)


@pytest.mark.parametrize("name", documented())
def test_a_variable_changes_something_or_the_log_says_why_not(name: str) -> None:
    value, beside = EFFECTS.get(name, ("16", {}))
    before, after = read(beside), read({**beside, whole(name): value})
    said = [text for text in after.warnings if text.startswith(f"{whole(name)} ")]
    if name in EFFECTS:
        assert (before.extra, before.scope) != (after.extra, after.scope)
        assert not said
    elif name == "VINEYARD_CACHE_METRICS_ENABLED":
        assert drop_in.exports_metrics({}) and not drop_in.exports_metrics({name: "0"})
    elif name == "TIME_MEASUREMENT_ENABLED":
        assert drop_in.exports_times({}) and not drop_in.exports_times({whole(name): "0"})
    else:
        assert (before.extra, before.scope, before.notes) == (after.extra, after.scope, after.notes)
        assert len(said) == 1
        assert "has no effect: " in said[0] or "private server instead" in said[0]


def test_the_values_are_those_of_the_settings() -> None:
    waits = read({**SHFS, PREFIX + "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": "4096"})
    assert waits.extra["l2.queue-bytes"] == str(4096 * 2 * 1536)  # Of both ranks.
    inline = read({**SHFS, PREFIX + "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS": "0"})
    assert inline.extra["flush_finished"] is True
    assert read({**ROCKSDB, PREFIX + "ROCKSDB_ROOT": "/x", PREFIX + "ROCKSDB_TTL_S": "60"}).extra["l2.url"] == (
        "rocksdb:/x?ttl=60s")
    token = {PREFIX + "REPRISE_TOKEN_FILE": "/t"}
    assert read({**REMOTE, **token, PREFIX + "REPRISE_URL": "unix:///y"}).extra == {
        "cache_url": "unix:///y", "attach.token-file": "/t"}
    behind = read({**REMOTE, **token, PREFIX + "REPRISE_URL": "tcp://cache-1:9600"})
    assert behind.extra["l2.url"] == "tcp://cache-1:9600"
    settings = Settings.read(behind.extra)
    assert "--attach-token-file" in settings.server_flags()  # The private server shows it to the other one,
    assert settings.attach_options() == {}  # which the workers do not talk to.


def test_blocks_of_another_size_are_named() -> None:
    (said,) = read({"AIBRIX_LLM_KV_CACHE_CHUNK_SIZE": "16"}).warnings
    assert "blocks are those of vLLM, of 32 tokens, and --block-size sets them" in said
    assert read({"AIBRIX_LLM_KV_CACHE_CHUNK_SIZE": "32"}).warnings == []


def test_a_name_that_is_none_is_said_with_the_nearest() -> None:
    (said,) = read({PREFIX + "L1_CACHE_CAPACTIY_GB": "1"}).warnings
    assert f"did you mean {PREFIX}L1_CACHE_CAPACITY_GB?" in said


@pytest.mark.parametrize("endpoint", ["host", "host:", ":9600", "host:x", "host:70000"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(reprise.ConfigError, match="AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT"):
        read({"AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT": endpoint})


def test_in_an_engine(model: Path, baseline: Callable[..., list[harness.Answer]], tmp_path: Path,
                      monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of(300, 320)
    expected = baseline(prompts)
    root = tmp_path / "shared"

    flushed: list[bool] = []
    flush = Flusher.flush
    monkeypatch.setattr(Flusher, "flush", lambda self: flushed.append(flush(self)) or flushed[-1])

    def files() -> int:
        return sum(path.is_file() and path.stat().st_size > 1 << 12 for path in root.rglob("*"))

    def engine(**variables: str) -> Engine:
        for name, value in variables.items():
            monkeypatch.setenv(whole(name), value)
        return Engine(model, dict(PATIENT), name="AIBrixOffloadingConnectorV1Type3", module=None)

    with engine(VINEYARD_CACHE_CPU_MEM_LIMIT_GB="0.25", L2_CACHE_BACKEND="SHFS", SHFS_ROOT=str(root),
                L1_CACHE_EVICTION_POLICY="FIFO", L2_CACHE_INGESTION_TYPE="ALL",
                VINEYARD_CACHE_ENABLE_ASYNC_UPDATE="0", VINEYARD_CACHE_METRICS_ENABLED="0") as one:
        stats = one.connector._scheduler._lookup._cache.stats()
        assert stats.l1.capacity_bytes == 256 << 20
        assert "fifo" in one.connector._server._flags
        assert one.ask(prompts) == expected
        assert flushed == [True] * len(prompts)
        assert files() == ideal(prompts) // 32 + 1  # All that is whole was written before the answers were given.
        assert one.metric("reprise_saved_blocks") == 0  # Not exported.
    with engine(L2_CACHE_NAMESPACE="another", L2_CACHE_INGESTION_TYPE="HOT", VINEYARD_CACHE_ENABLE_ASYNC_UPDATE="1",
                VINEYARD_CACHE_METRICS_ENABLED="1") as two:
        before = files()
        assert two.ask(prompts) == expected
        assert two.metric("external_prefix_cache_hits") == 0
        assert two.metric("reprise_saved_blocks") > 0
        assert files() == before  # Nothing is hot yet.
        assert len(flushed) == len(prompts)  # Nobody waited.
    with engine(L2_CACHE_NAMESPACE="aibrix") as three:
        assert three.ask(prompts) == expected
        assert three.metric("external_prefix_cache_hits") == ideal(prompts)
