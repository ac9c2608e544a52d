"""MOCK: blocks in the memory of this connector, for tests."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from .cache_connector import CacheConnector
from .connector import ConnectorConfig


@dataclass
class MockConfig:
    """What the original's mock pretends to have. Ours has mput_mget always, and the rest never."""

    use_rdma: bool = False
    use_mput_mget: bool = False
    use_gdr_put: bool = False
    use_gdr_get: bool = False
    use_noop: bool = False


class MockConnector(CacheConnector):
    """Every connector has blocks of its own; they end with `close`."""

    BACKEND = "MOCK"

    def __init__(self, conn_id: Any, executor: Executor, config: ConnectorConfig | None = None) -> None:
        if isinstance(conn_id, MockConfig):  # The original's form: MockConnector(MockConfig, executor).
            conn_id = "mock"
        super().__init__(conn_id, executor, config)
