"""REPRISE: blocks in a daemon, or in whatever else a cache URL names."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

import reprise

from ... import envs
from .cache_connector import CacheConnector
from .connector import ConnectorConfig
from .urls import l2_url


class RepriseConnector(CacheConnector):
    """The cache of AIBRIX_KV_CACHE_OL_REPRISE_URL, or, as a member of a cluster, that of tcp://addr:port."""

    BACKEND = "REPRISE"

    def __init__(
        self, conn_id: str, executor: Executor, config: ConnectorConfig | None = None, url: str | None = None
    ) -> None:
        super().__init__(conn_id, executor, config)
        self.url = url

    @classmethod
    def from_envs(cls, conn_id: str, executor: Executor, **kwargs: Any) -> RepriseConnector:
        addr, port = kwargs.pop("addr", None), kwargs.pop("port", None)
        url = kwargs.pop("url", None) or (f"tcp://{addr}:{port}" if addr else None)
        return cls(conn_id, executor, kwargs.pop("config", None), url)  # Other fields of a member say nothing to us.

    def _open_cache(self) -> reprise.Cache:
        token_file = envs.AIBRIX_KV_CACHE_OL_REPRISE_TOKEN_FILE
        options = {"attach_token_file": token_file} if token_file else {}
        return reprise.Cache.open(self.url or l2_url(self.BACKEND, self.conn_id), **options)
