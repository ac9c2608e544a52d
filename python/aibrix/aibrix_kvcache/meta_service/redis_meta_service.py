"""The member list in Redis, or whatever speaks its protocol."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..status import Status, StatusCodes
from .meta_service import MetaService, MetaServiceConfig

_TIMEOUT_S = 5.0


class RedisMetaService(MetaService):
    """Reads one key; needs the package `redis`. A lost connection is made anew by the next question."""

    def __init__(self, config: MetaServiceConfig) -> None:
        super().__init__(config)
        self._client: Any = None

    @classmethod
    def from_envs(cls, config: MetaServiceConfig) -> RedisMetaService:
        return cls(config)

    @property
    def name(self) -> str:
        return "Redis"

    def open(self) -> Status[Any]:
        try:
            import redis

            self._client = redis.Redis.from_url(
                self.config.url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, decode_responses=True
            )
            self._client.ping()
        except Exception as error:
            return Status.error(StatusCodes.ERROR, error)
        return Status.ok()

    def close(self) -> Status[Any]:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        return Status.ok()

    def get_cluster_metadata(self) -> Status[str]:
        """NOT_FOUND for a key that is not there, ERROR while Redis is away."""
        client = self._client
        if client is None:
            return Status.error(StatusCodes.ERROR, "Redis is not open")
        try:
            text = client.get(self.config.cluster_meta_key)
        except Exception as error:
            return Status.error(StatusCodes.ERROR, error)
        if text is None:
            return Status.error(StatusCodes.NOT_FOUND, f"Redis has no key {self.config.cluster_meta_key!r}")
        return Status.ok(text)

    def get_connection_info(self) -> dict[str, Any]:
        """Host, port and database; no password."""
        parts = urlsplit(self.config.url)
        return {"host": parts.hostname, "port": parts.port, "db": parts.path.lstrip("/") or "0"}
