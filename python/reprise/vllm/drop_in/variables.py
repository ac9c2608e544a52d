"""The `AIBRIX_KV_CACHE_OL_*` variables as settings of the connector. Read in the scheduler's process alone.

docs/aibrix-environment.md has the variables; older ones, of before there was a connector, stand in for them. They
are those of a cache in each rank; here the ranks of a host share one, so that capacities count times the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..._errors import ConfigError
from .no_effect import PREFIX, idle

_GIB = 1 << 30
_STAGING = 256 << 20  # Memory per rank that blocks of L2 pass through where there is to be no L1.
# What stands in for a variable that is not set.
_OLDER = {
    "L1_CACHE_CAPACITY_GB": "VINEYARD_CACHE_CPU_MEM_LIMIT_GB",
    "L2_CACHE_NAMESPACE": "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS",
}
SOCKET = "AIBRIX_LLM_KV_CACHE_SOCKET"
ENDPOINT = "AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT"
ASYNC_UPDATE = "VINEYARD_CACHE_ENABLE_ASYNC_UPDATE"
METRICS = "VINEYARD_CACHE_METRICS_ENABLED"
_POLICIES = {"LRU": "lru", "FIFO": "fifo", "S3FIFO": "s3fifo", "ADAPTIVE": "adaptive"}
_ROCKSDB = {
    "TTL_S": "ttl", "WRITE_BUFFER_SIZE": "write-buffer", "TARGET_FILE_SIZE_BASE": "target-file",
    "MAX_WRITE_BUFFER_NUMBER": "max-write-buffers", "MAX_TOTAL_WAL_SIZE": "max-wal",
    "MAX_BACKGROUND_JOBS": "background-jobs",
}


@dataclass
class DropIn:
    """What the variables say."""

    extra: dict[str, Any] = field(default_factory=dict)
    """As in kv_connector_extra_config."""
    scope: str = ""
    """Part of the identity of every block."""
    notes: list[str] = field(default_factory=list)
    """For the log."""
    warnings: list[str] = field(default_factory=list)
    """For the log: what is set and does nothing."""


def read(environment: Mapping[str, str], ranks: int, *, block_tokens: int = 0, token_bytes: int = 0) -> DropIn:
    """`ranks`: of this engine on this host. ConfigError, with the variable, for what cannot work.

    block_tokens, token_bytes: of the engine's blocks, and of one token's KV in one rank; 0 where they are not known.
    """
    out = DropIn()
    get = _Reader(environment)
    _read_l1(get, ranks, out)
    _read_l2(get, ranks, out)
    _read_ingestion(get, ranks * token_bytes, out)
    out.scope = get("L2_CACHE_NAMESPACE", "aibrix").lower()
    if get("MODEL", ""):
        out.scope += f":{get('MODEL', '')}"
    if get.given("FLUSH_TIMEOUT_S"):
        out.extra["flush_timeout"] = get.number("FLUSH_TIMEOUT_S", 60)
    if get.given("L2_CACHE_PER_TOKEN_TIMEOUT_MS"):
        out.extra["fetch_timeout_per_token"] = get.number("L2_CACHE_PER_TOKEN_TIMEOUT_MS", 20) / 1000
    if get.flag("PROFILING_ENABLED", False):
        out.extra["profiling_server"] = get("PROFILING_SERVER_ADDRESS", "http://0.0.0.0:4040")
    _go_to_the_host_tier(environment.get(SOCKET, ""), out)
    out.warnings += idle(environment, block_tokens)
    return out


def exports_metrics(environment: Mapping[str, str]) -> bool:
    """Whether counters of the cache are to be on vLLM's /metrics."""
    return _Reader(environment).flag(METRICS, True, prefix="")


def exports_times(environment: Mapping[str, str]) -> bool:
    """Whether latencies are among them."""
    return _Reader(environment).flag("TIME_MEASUREMENT_ENABLED", True)


def _read_l1(get: _Reader, ranks: int, out: DropIn) -> None:
    if get.flag("L1_CACHE_ENABLED", True):
        each = get.number("L1_CACHE_CAPACITY_GB", 10.0)
        out.extra["l1.capacity"] = str(int(each * _GIB) * ranks)
        policy = get.choice("L1_CACHE_EVICTION_POLICY", "S3FIFO", _POLICIES)
        out.extra["l1.policy"] = _POLICIES[policy]
        out.notes.append(f"L1: {each:g} GiB for each of {ranks} ranks, {each * ranks:g} GiB shared by them, {policy}")
    elif get("L2_CACHE_BACKEND", ""):
        out.extra["l1.capacity"] = str(_STAGING * ranks)
        out.notes.append(f"L1 is off: blocks pass through {_STAGING * ranks >> 20} MiB")
    else:
        raise ConfigError(f"{PREFIX}L1_CACHE_ENABLED is 0 and {PREFIX}L2_CACHE_BACKEND is empty: set one of them")


def _read_l2(get: _Reader, ranks: int, out: DropIn) -> None:
    backend, endpoint = get("L2_CACHE_BACKEND", "").upper(), get.other(ENDPOINT)
    if backend and endpoint:
        out.warnings.append(f"{ENDPOINT} has no effect: {PREFIX}L2_CACHE_BACKEND goes before it")
    if not backend and not endpoint:
        return
    ingest = "HOT" if backend else "ALL"
    if not backend:
        url = _remote(ENDPOINT, endpoint)
    elif backend == "REPRISE":
        url = get("REPRISE_URL", "unix:///run/reprise/reprise.sock")
        token = get("REPRISE_TOKEN_FILE", "")
        if token:
            out.extra["attach.token-file"] = str(Path(token).expanduser())
        if not url.startswith("tcp:"):
            out.extra = {"cache_url": url} | {k: v for k, v in out.extra.items() if k.startswith("attach.")}
            out.notes = [f"L1 and L2 are the daemon's: {url}"]
            return
    elif backend == "MOCK":
        url = "mock:?capacity=4GiB"
    elif backend == "SHFS":
        url = f"fs:{Path(get('SHFS_ROOT', '~/.kv_cache_ol/shfs')).expanduser()}"
    elif backend == "ROCKSDB":
        url = f"rocksdb:{Path(get('ROCKSDB_ROOT', '~/.kv_cache_ol/rocksdb')).expanduser()}{_rocksdb(get)}"
    else:
        raise ConfigError(f"{PREFIX}L2_CACHE_BACKEND is '{backend}', which this version does not have; there are "
                          "MOCK, SHFS, ROCKSDB and REPRISE; for a cache on the network, REPRISE with "
                          f"{PREFIX}REPRISE_URL=tcp://host:port of a `reprise serve --listen-tcp`")
    out.extra["l2.url"] = url
    out.extra["l2.ingest"] = get.choice("L2_CACHE_INGESTION_TYPE", ingest, ("ALL", "HOT", "EVICTED"))
    out.extra["l2.threads"] = str(int(get.number("L2_CACHE_NUM_ASYNC_WORKERS", 8, lowest=1, highest=256)))
    out.notes.append(f"L2: {url}, ingestion {out.extra['l2.ingest']}")


def _remote(name: str, endpoint: str) -> str:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{name} is '{endpoint}', expected host:port of a `reprise serve --listen-tcp`")
    return f"tcp://{endpoint}"


def _rocksdb(get: _Reader) -> str:
    given = {option: int(get.number(f"ROCKSDB_{name}", 0, highest=1 << 50))
             for name, option in _ROCKSDB.items() if get.given(f"ROCKSDB_{name}")}
    words = [f"{option}={value}{'s' if option == 'ttl' else ''}" for option, value in given.items()]
    return "?" + "&".join(words) if words else ""


def _read_ingestion(get: _Reader, token_bytes: int, out: DropIn) -> None:
    """Whether a request waits until its blocks are in L2, and how many bytes may wait for that."""
    inline = not get.flag(ASYNC_UPDATE, True, prefix="")
    name = "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS"
    if get.given(name):
        tokens = int(get.number(name, 0, highest=1 << 40))
        inline = inline or tokens == 0
        if tokens and token_bytes and "l2.url" in out.extra:
            out.extra["l2.queue-bytes"] = str(tokens * token_bytes)
    if inline:
        out.extra["flush_finished"] = True
        out.notes.append("a request is over when what it stored is in L2")


def _go_to_the_host_tier(socket: str, out: DropIn) -> None:
    """A daemon that listens on this host has L1 and L2 of its own."""
    if socket and "cache_url" in out.extra:
        out.warnings.append(f"{SOCKET} has no effect: {PREFIX}L2_CACHE_BACKEND goes before it")
    elif socket and Path(socket).is_socket():
        ours = {k: v for k, v in out.extra.items() if "." not in k}
        out.extra = {"cache_url": f"unix://{socket}", **ours}
        out.notes = [f"the daemon of {SOCKET}: {socket}; L1 and L2 are its own"]
    elif socket:
        out.warnings.append(f"{SOCKET} is {socket}, where no socket is: a private server instead")


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, name: str, default: str) -> str:
        older = self._environment.get(_OLDER.get(name, ""), default)
        return self._environment.get(PREFIX + name, older).strip()

    def other(self, name: str) -> str:
        """Of a variable without the prefix; empty if it is not set."""
        return self._environment.get(name, "").strip()

    def given(self, name: str) -> bool:
        return bool(self(name, ""))

    def _name(self, name: str) -> str:
        older = _OLDER.get(name, "")
        return older if older in self._environment and PREFIX + name not in self._environment else PREFIX + name

    def flag(self, name: str, default: bool, *, prefix: str = PREFIX) -> bool:
        text = self._environment.get(prefix + name, str(default)).strip().lower()
        if text not in ("1", "true", "0", "false", ""):
            raise ConfigError(f"{prefix}{name} is '{text}', expected 1, true, 0 or false")
        return text in ("1", "true")

    def number(self, name: str, default: float, lowest: float = 0, highest: float = 1 << 20) -> float:
        text = self(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not lowest <= value <= highest:
            raise ConfigError(f"{self._name(name)} is '{text}', expected a number from {lowest} to {highest}")
        return value

    def choice(self, name: str, default: str, among: Mapping[str, str] | tuple[str, ...]) -> str:
        text = self(name, default).upper()
        if text not in among:
            raise ConfigError(f"{PREFIX}{name} is '{text}', expected one of {', '.join(among)}")
        return text
