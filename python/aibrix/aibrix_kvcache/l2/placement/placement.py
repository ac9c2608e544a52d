"""The interface to the members of a cluster."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

from ...meta_service import MetaService
from ...status import Status
from ..connectors import Connector, ConnectorConfig


@dataclass(eq=False)
class Member:
    """A member: what the list says of it (`meta`: addr, port and whatever else), its slots, and the way to it."""

    meta: dict[str, Any]
    slots: list[int] = field(default_factory=list)
    conn: Connector[Any, Any] | None = None

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """Two members of the same identity are one."""
        return tuple(sorted((name, repr(value)) for name, value in self.meta.items()))

    def __repr__(self) -> str:
        return f"Member({self.meta}, slots={len(self.slots)}, connected={self.conn is not None})"


@dataclass
class PlacementConfig:
    """How blocks are spread, over connectors made by which configuration, and who knows the members."""

    placement_policy: str
    conn_config: ConnectorConfig
    meta_service: MetaService | None = None
    refresh_interval_s: int = 0


class Placement(Connector[Any, Any]):
    """A connector that is many: every block has one member."""

    @staticmethod
    def create(config: Any, **kwargs: Any) -> Placement:
        """The placement of `config.placement_policy`. ValueError for another one than SIMPLE."""
        from .simple_placement import SimplePlacement

        if config.placement_policy.upper() != "SIMPLE":
            raise ValueError(f"unknown placement policy {config.placement_policy!r}: there is SIMPLE")
        return SimplePlacement(config=config)

    @abstractmethod
    def construct_cluster(self, json_str: str) -> Status[Any]:
        """Makes the members those of the list. INVALID, and nothing changes, if the list makes no sense."""

    @abstractmethod
    def select(self, key: Any) -> Status[Member]:
        """The member that has the block."""
