"""The `AIBRIX_KV_CACHE_OL_*` variables as settings of the connector. Read in the scheduler's process alone.

docs/aibrix-environment.md has the variables; older ones, of before there was a connector, stand in for them. They
are those of a cache in each rank; here the ranks of a host share one, so that capacities count times the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import ConfigError

PREFIX = "AIBRIX_KV_CACHE_OL_"
_GIB = 1 << 30
_STAGING = 256 << 20  # Memory per rank that blocks of L2 pass through where there is to be no L1.
# What stands in for a variable that is not set.
_OLDER = {
    "L1_CACHE_CAPACITY_GB": "VINEYARD_CACHE_CPU_MEM_LIMIT_GB",
    "L2_CACHE_NAMESPACE": "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS",
}
_SOCKET = "AIBRIX_LLM_KV_CACHE_SOCKET"
_NO_EFFECT = {
    "AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT": "the private server has no remote tier in this version",
    "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE": "blocks are those of vLLM: --block-size",
    "VINEYARD_CACHE_ENABLE_ASYNC_UPDATE": "blocks are always written to L2 in the background",
    "VINEYARD_CACHE_METRICS_ENABLED": "counters are always on vLLM's /metrics",
}
_POLICIES = {"LRU": "lru", "FIFO": "fifo", "S3FIFO": "s3fifo", "ADAPTIVE": "adaptive"}


@dataclass
class DropIn:
    """What the variables say."""

    extra: dict[str, Any] = field(default_factory=dict)
    """As in kv_connector_extra_config."""
    scope: str = ""
    """Part of the identity of every block."""
    notes: list[str] = field(default_factory=list)
    """For the log."""


def read(environment: Mapping[str, str], ranks: int) -> DropIn:
    """`ranks`: of this engine on this host. ConfigError, with the variable, for what cannot work."""
    out = DropIn()
    get = _Reader(environment)
    backend = get("L2_CACHE_BACKEND", "").upper()
    if get.flag("L1_CACHE_ENABLED", True):
        each = get.number("L1_CACHE_CAPACITY_GB", 10.0)
        out.extra["l1.capacity"] = str(int(each * _GIB) * ranks)
        policy = get.choice("L1_CACHE_EVICTION_POLICY", "S3FIFO", _POLICIES)
        out.extra["l1.policy"] = _POLICIES[policy]
        out.notes.append(f"L1: {each:g} GiB for each of {ranks} ranks, {each * ranks:g} GiB shared by them, {policy}")
    elif backend:
        out.extra["l1.capacity"] = str(_STAGING * ranks)
        out.notes.append(f"L1 is off: blocks pass through {_STAGING * ranks >> 20} MiB")
    else:
        raise ConfigError(f"{PREFIX}L1_CACHE_ENABLED is 0 and {PREFIX}L2_CACHE_BACKEND is empty: set one of them")
    _read_l2(get, backend, out)
    out.scope = get("L2_CACHE_NAMESPACE", "aibrix").lower()
    socket = environment.get(_SOCKET, "")
    if socket and Path(socket).is_socket():
        out.extra, out.notes = {"cache_url": f"unix://{socket}"}, [f"the daemon of {_SOCKET}: {socket}"]
    elif socket:
        out.notes.append(f"{_SOCKET} is {socket}, where no socket is: a private server instead")
    out.notes += [f"{name} has no effect: {why}" for name, why in _NO_EFFECT.items() if name in environment]
    return out


def _read_l2(get: _Reader, backend: str, out: DropIn) -> None:
    if not backend:
        return
    if backend == "REPRISE":
        out.extra = {"cache_url": get("REPRISE_URL", "unix:///run/reprise/reprise.sock")}
        if get("REPRISE_TOKEN_FILE", ""):
            out.extra["attach.token-file"] = str(Path(get("REPRISE_TOKEN_FILE", "")).expanduser())
        out.notes = [f"L1 and L2 are the daemon's: {out.extra['cache_url']}"]
        return
    if backend == "MOCK":
        url = "mock:?capacity=4GiB"
    elif backend == "SHFS":
        url = f"fs:{Path(get('SHFS_ROOT', '~/.kv_cache_ol/shfs')).expanduser()}"
    elif backend == "ROCKSDB":
        url = f"rocksdb:{Path(get('ROCKSDB_ROOT', '~/.kv_cache_ol/rocksdb')).expanduser()}"
    else:
        raise ConfigError(f"{PREFIX}L2_CACHE_BACKEND is '{backend}', which this version does not have; there are "
                          "MOCK, SHFS, ROCKSDB and REPRISE")
    out.extra["l2.url"] = url
    out.extra["l2.ingest"] = get.choice("L2_CACHE_INGESTION_TYPE", "HOT", ("ALL", "HOT", "EVICTED"))
    out.extra["l2.threads"] = str(int(get.number("L2_CACHE_NUM_ASYNC_WORKERS", 8, lowest=1)))
    out.notes.append(f"L2: {url}, ingestion {out.extra['l2.ingest']}")


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, name: str, default: str) -> str:
        older = self._environment.get(_OLDER.get(name, ""), default)
        return self._environment.get(PREFIX + name, older).strip()

    def _name(self, name: str) -> str:
        older = _OLDER.get(name, "")
        return older if older in self._environment and PREFIX + name not in self._environment else PREFIX + name

    def flag(self, name: str, default: bool) -> bool:
        text = self(name, str(default)).lower()
        if text not in ("1", "true", "0", "false", ""):
            raise ConfigError(f"{PREFIX}{name} is '{text}', expected 1, true, 0 or false")
        return text in ("1", "true")

    def number(self, name: str, default: float, lowest: float = 0) -> float:
        text = self(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not lowest <= value <= 1 << 20:
            raise ConfigError(f"{self._name(name)} is '{text}', expected a number from {lowest:g} to {1 << 20}")
        return value

    def choice(self, name: str, default: str, among: Mapping[str, str] | tuple[str, ...]) -> str:
        text = self(name, default).upper()
        if text not in among:
            raise ConfigError(f"{PREFIX}{name} is '{text}', expected one of {', '.join(among)}")
        return text
