"""What an L2Cache stores blocks in."""

from .cache_connector import CacheConnector
from .connector import (
    Connector,
    ConnectorConfig,
    ConnectorFeature,
    ConnectorRegisterDescriptor,
    ConnectorZeroCopyMemoryRegion,
)
from .mock import MockConfig, MockConnector
from .reprise_connector import RepriseConnector
from .rocksdb import RocksDBConnector
from .shfs import SHFSConnector

__all__ = [
    "CacheConnector",
    "Connector",
    "ConnectorConfig",
    "ConnectorFeature",
    "ConnectorRegisterDescriptor",
    "ConnectorZeroCopyMemoryRegion",
    "MockConfig",
    "MockConnector",
    "RepriseConnector",
    "RocksDBConnector",
    "SHFSConnector",
]
