"""Members that come and go."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import torch

from ...status import Status, StatusCodes
from ..connectors import Connector, ConnectorFeature
from ..connectors.connector import MR, leading_in_time
from .members import parse_members
from .placement import Member, Placement, PlacementConfig

_logger = logging.getLogger("aibrix_kvcache.l2.placement")
_RETRY_S = 30  # How often members that could not be reached are tried when no interval is given.


class BasePlacement(Placement):
    """Forwards each block to the member that `select` names. Subclasses select.

    With `refresh_interval_s`, a thread asks the meta service that often and connects to members that were away; it
    survives whatever goes wrong. Without it the list is read once, at `open`, and members are tried every half minute.
    Any thread may call; calls in flight to a member that goes end with an error.
    """

    def __init__(self, *, config: PlacementConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._members: list[Member] = []
        self._owners: list[tuple[int, Member]] = []  # Sorted by slot.
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._slabs: list[torch.Tensor] = []

    @classmethod
    def from_envs(cls, conn_id: str, executor: Executor, **kwargs: Any) -> Connector[Any, Any]:
        raise ValueError("a placement is made by Placement.create of a PlacementConfig")

    @property
    def name(self) -> str:
        return f"{self.config.conn_config.backend_name} cluster"

    @property
    def members(self) -> list[Member]:
        with self._lock:
            return list(self._members)

    @property
    def owners(self) -> list[tuple[int, Member]]:
        """(slot, its member), sorted by slot; the list is never changed, only replaced."""
        return self._owners

    @property
    def slots(self) -> list[int]:
        return [slot for slot, _ in self._owners]

    @property
    def total_slots(self) -> int:
        return len(self._owners)

    @property
    def feature(self) -> ConnectorFeature:
        """That of the first member that is there."""
        for member in self.members:
            if member.conn is not None:
                return member.conn.feature
        return ConnectorFeature()

    def open(self) -> Status[Any]:
        """Reads the list and connects. Not OK if there is no list, or no member can be reached."""
        meta_service = self.config.meta_service
        if meta_service is not None:
            status = self._refresh()
            if not status.is_ok():
                return status
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep_fresh, name="ClusterRefreshThread", daemon=True)
            self._thread.start()
        return Status.ok()

    def close(self) -> Status[Any]:
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(60)
        with self._lock:
            members, self._members, self._owners = self._members, [], []
        for member in members:
            _close(member)
        return Status.ok()

    def construct_cluster(self, json_str: str) -> Status[Any]:
        try:
            listed = parse_members(json_str)
        except ValueError as error:
            return Status.error(StatusCodes.INVALID, str(error))
        known = {member.identity: member for member in self.members}
        members: list[Member] = []
        for meta, slots in listed:
            member = Member(meta, slots)
            old = known.get(member.identity)
            member.conn = old.conn if old is not None else None
            members.append(member)
        self._connect(members)
        if all(member.conn is None for member in members):
            return Status.error(StatusCodes.INVALID, f"no member can be reached: {[m.meta for m in members]}")
        with self._lock:
            self._members = members
            self._owners = sorted(((slot, m) for m in members for slot in m.slots), key=lambda owner: owner[0])
        kept = {id(member.conn) for member in members}
        for old in known.values():
            if id(old.conn) not in kept:
                _close(old)
        return Status.ok()

    def register_slabs(self, slabs: list[torch.Tensor]) -> Status[Any]:
        """Registers with all members, those that come later included."""
        self._slabs = list(slabs)
        for member in self.members:
            status = member.conn.register_slabs(self._slabs) if member.conn is not None else Status.ok()
            if not status.is_ok():
                return status
        return Status.ok()

    async def exists(self, key: Any) -> Status[Any]:
        return await self._forward(key, lambda conn: conn.exists(key))

    async def get(self, key: Any, mr: MR) -> Status[Any]:
        return await self._forward(key, lambda conn: conn.get(key, mr))

    async def put(self, key: Any, mr: MR) -> Status[Any]:
        return await self._forward(key, lambda conn: conn.put(key, mr))

    async def delete(self, key: Any) -> Status[Any]:
        return await self._forward(key, lambda conn: conn.delete(key))

    async def mget(self, keys: Sequence[Any], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        return await self._spread(keys, mrs, "mget")

    async def mput(self, keys: Sequence[Any], mrs: Sequence[MR]) -> Sequence[Status[Any]]:
        return await self._spread(keys, mrs, "mput")

    async def get_run(self, keys: Sequence[Any], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        return await leading_in_time([self.mget(keys, mrs)], timeout_s)

    async def put_run(self, keys: Sequence[Any], mrs: Sequence[MR], timeout_s: float) -> Status[int]:
        return await leading_in_time([self.mput(keys, mrs)], timeout_s)

    async def _spread(self, keys: Sequence[Any], mrs: Sequence[MR], what: str) -> Sequence[Status[Any]]:
        """One call per member, side by side; answers in the order of the keys."""
        groups: dict[int, tuple[Connector[Any, Any], list[int]]] = {}
        answers: list[Status[Any]] = [Status.ok()] * len(keys)
        for index, key in enumerate(keys):
            status = self._connection(key)
            if status.is_ok():
                groups.setdefault(id(status.get()), (status.get(), []))[1].append(index)
            else:
                answers[index] = Status(status)
        calls = [
            getattr(conn, what)([keys[i] for i in chosen], [mrs[i] for i in chosen])
            for conn, chosen in groups.values()
        ]
        for (_, chosen), got in zip(groups.values(), await asyncio.gather(*calls), strict=True):
            for index, status in zip(chosen, got, strict=True):
                answers[index] = status
        return answers

    async def _forward(self, key: Any, call: Callable[[Connector[Any, Any]], Any]) -> Status[Any]:
        status = self._connection(key)
        answer: Status[Any] = await call(status.get()) if status.is_ok() else Status(status)
        return answer

    def _connection(self, key: Any) -> Status[Connector[Any, Any]]:
        status = self.select(key)
        if not status.is_ok():
            return Status(status)
        member = status.get()
        if member.conn is None:
            return Status.error(StatusCodes.ERROR, f"{member.meta} is away")
        return Status.ok(member.conn)

    def _connect(self, members: Sequence[Member]) -> None:
        """Connects those that are not; one that cannot be reached stays in its place and is tried again later."""
        for member in members:
            if member.conn is not None:
                continue
            try:
                conn = Connector.create(self.config.conn_config, **member.meta)
                status = conn.open()
                if status.is_ok() and self._slabs:
                    status = conn.register_slabs(self._slabs)
            except Exception as error:
                status = Status.error(StatusCodes.ERROR, error)
            if status.is_ok():
                member.conn = conn
            else:
                _logger.warning("member %s cannot be reached: %s", member.meta, status.value)

    def _refresh(self) -> Status[Any]:
        meta_service = self.config.meta_service
        assert meta_service is not None
        status = meta_service.get_cluster_metadata()
        return self.construct_cluster(status.get()) if status.is_ok() else status

    def _keep_fresh(self) -> None:
        interval = self.config.refresh_interval_s
        while not self._stop.wait(interval or _RETRY_S):
            try:
                status = self._refresh() if interval > 0 else Status.ok()
                if not status.is_ok():
                    _logger.warning("the member list stays as it is: %s", status)
                self._connect(self.members)
            except Exception:
                _logger.exception("the member list stays as it is")


def _close(member: Member) -> None:
    if member.conn is not None:
        try:
            member.conn.close()
        except Exception:
            _logger.exception("closing %s", member.meta)
