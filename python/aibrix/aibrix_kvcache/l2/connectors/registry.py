"""Backends by name."""

from __future__ import annotations

from typing import Any

from .connector import Connector

# Backends of the original that are not there yet; they come as stores of the native cache.
_LATER = ("INFINISTORE", "HPKV", "PRISKV", "PRIS", "EIC")


def connector_class(backend_name: str) -> type[Connector[Any, Any]]:
    """The class of that backend. ValueError, with what there is, for one that is not there."""
    from .mock import MockConnector
    from .reprise_connector import RepriseConnector
    from .rocksdb import RocksDBConnector
    from .shfs import SHFSConnector

    there: dict[str, type[Connector[Any, Any]]] = {
        "MOCK": MockConnector,
        "SHFS": SHFSConnector,
        "ROCKSDB": RocksDBConnector,
        "REPRISE": RepriseConnector,
    }
    cls = there.get(backend_name.upper())
    if cls is None:
        what = "is not there yet" if backend_name.upper() in _LATER else "is unknown"
        raise ValueError(f"L2 backend {backend_name!r} {what}: there is {', '.join(there)}")
    return cls
