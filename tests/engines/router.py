"""A router, as far as it listens to what an engine tells it of KV blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import zmq
from vllm.config import KVEventsConfig
from vllm.distributed.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, KVEventBatch


class Router:
    """Subscribes to one engine, and remembers what it was told of each medium."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/events"
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(self.endpoint)
        self._decoder = msgspec.msgpack.Decoder(KVEventBatch)
        self.stored: dict[str, dict[tuple[int, Any], BlockStored]] = {"CPU": {}, "GPU": {}}
        self.removed: list[tuple[int, Any]] = []
        self.cleared = 0

    @property
    def config(self) -> KVEventsConfig:
        """For the engine."""
        return KVEventsConfig(enable_kv_cache_events=True, publisher="zmq", endpoint=self.endpoint)

    def listen(self, wait_ms: int = 300) -> Router:
        """Takes in what has come, until nothing comes for `wait_ms`."""
        while self._socket.poll(wait_ms):
            for event in self._decoder.decode(self._socket.recv_multipart()[2]).events:
                self._take_in(event)
        return self

    def _take_in(self, event: Any) -> None:
        if isinstance(event, AllBlocksCleared):
            self.cleared += 1
        elif isinstance(event, BlockRemoved):
            for name in event.block_hashes:
                self.stored[event.medium or "GPU"].pop((event.group_idx, name), None)
            if event.medium == "CPU":
                self.removed += [(event.group_idx, name) for name in event.block_hashes]
        else:
            for name in event.block_hashes:
                self.stored[event.medium or "GPU"][event.group_idx, name] = event

    def close(self) -> None:
        """Hears no more."""
        self._socket.close(linger=0)
