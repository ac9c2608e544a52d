"""Backends of the environment as URLs of the native cache."""

from __future__ import annotations

import os
from urllib.parse import quote

from ... import envs
from .registry import connector_class

_MIB = 1024 * 1024


def l2_url(backend_name: str, conn_id: str) -> str:
    """The URL of that backend's store, as the environment says; `conn_id` names the directory below the root.

    ValueError for a backend that is not there, and for a variable that cannot work.
    """
    connector_class(backend_name)
    name = backend_name.upper()
    if name == "MOCK":
        return "mock:?capacity=4GiB"
    if name == "SHFS":
        return "fs:" + _directory("AIBRIX_KV_CACHE_OL_SHFS_ROOT", conn_id)
    if name == "REPRISE":
        url: str = envs.AIBRIX_KV_CACHE_OL_REPRISE_URL
        if not url:
            raise ValueError("AIBRIX_KV_CACHE_OL_REPRISE_URL is empty: write unix:///path or tcp://host:port")
        return url
    return "rocksdb:" + _directory("AIBRIX_KV_CACHE_OL_ROCKSDB_ROOT", conn_id) + _rocksdb()


def _directory(variable: str, conn_id: str) -> str:
    root: str = getattr(envs, variable)
    path = os.path.join(os.path.abspath(os.path.expanduser(root)), quote(conn_id, safe=""))
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{variable}={root}: cannot make {path}: {error.strerror}") from error
    return path


def _rocksdb() -> str:
    options = {
        "ttl": f"{envs.AIBRIX_KV_CACHE_OL_ROCKSDB_TTL_S}s",
        "write-buffer": envs.AIBRIX_KV_CACHE_OL_ROCKSDB_WRITE_BUFFER_SIZE,
        "target-file": envs.AIBRIX_KV_CACHE_OL_ROCKSDB_TARGET_FILE_SIZE_BASE,
        "max-write-buffers": envs.AIBRIX_KV_CACHE_OL_ROCKSDB_MAX_WRITE_BUFFER_NUMBER,
        "max-wal": envs.AIBRIX_KV_CACHE_OL_ROCKSDB_MAX_TOTAL_WAL_SIZE,
        "background-jobs": envs.AIBRIX_KV_CACHE_OL_ROCKSDB_MAX_BACKGROUND_JOBS,
    }
    return "?" + "&".join(f"{name}={value}" for name, value in options.items())
