"""Slots by hash."""

from __future__ import annotations

from typing import Any

from ...status import Status, StatusCodes
from .base_placement import BasePlacement
from .fingerprint import fingerprint64
from .placement import Member


class SimplePlacement(BasePlacement):
    """A key's fingerprint, modulo the number of slots, is the position of its slot among all slots in order."""

    def select(self, key: Any) -> Status[Member]:
        owners = self.owners
        if not owners:
            return Status.error(StatusCodes.ERROR, "the cluster has no members")
        data = key.encode() if isinstance(key, str) else bytes(key)
        return Status.ok(owners[fingerprint64(data) % len(owners)][1])
