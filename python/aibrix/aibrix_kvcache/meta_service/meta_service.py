"""The interface to what knows the members."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from .. import envs
from ..status import Status


@dataclass
class MetaServiceConfig:
    """Where it is, and under which key the members are."""

    url: str
    cluster_meta_key: str


class MetaService(ABC):
    """Answers the member list as text. Any thread may ask."""

    def __init__(self, config: MetaServiceConfig) -> None:
        self.config = config

    @staticmethod
    def create(backend_name: str) -> MetaService:
        """The service of that name, as the environment says. ValueError for another name than REDIS."""
        from .redis_meta_service import RedisMetaService

        if backend_name.upper() != "REDIS":
            raise ValueError(f"unknown meta service {backend_name!r}: there is REDIS")
        return RedisMetaService.from_envs(
            MetaServiceConfig(
                url=envs.AIBRIX_KV_CACHE_OL_META_SERVICE_URL,
                cluster_meta_key=envs.AIBRIX_KV_CACHE_OL_META_SERVICE_CLUSTER_META_KEY,
            )
        )

    @classmethod
    @abstractmethod
    def from_envs(cls, config: MetaServiceConfig) -> MetaService:
        """Makes one."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def open(self) -> Status[Any]:
        """Connects. ERROR if it cannot be reached now."""

    @abstractmethod
    def close(self) -> Status[Any]: ...

    @abstractmethod
    def get_cluster_metadata(self) -> Status[str]:
        """The member list as JSON; NOT_FOUND if nobody has written one."""

    def get_connection_info(self) -> dict[str, Any]:
        """What it is connected to, for logs."""
        return {}
