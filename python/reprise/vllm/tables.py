"""Which blocks each running request has, and which of them are complete: the scheduler side's memory of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _native
from .plan import Save

_KEY = 16


@dataclass
class _Entry:
    request: Any
    keys: bytearray = field(default_factory=bytearray)
    ids: list[int] = field(default_factory=list)
    saved: int = 0
    """Blocks before this one are stored, or were offered."""
    saved_before: int = 0
    """What `saved` was before the last step that offered anything."""
    stale: bool = False
    """Its KV is of before a reset: nothing of it is saved until it begins anew."""


class BlockTables:
    """Block ids and keys by request. One KV group."""

    def __init__(self, block_tokens: int, hash_tokens: int, algorithm: str, *, trust: bool, decode: bool) -> None:
        """`hash_tokens`: tokens of one of vLLM's block hashes; `block_tokens` is a multiple."""
        self.block_tokens = block_tokens
        self._group = max(1, block_tokens // hash_tokens)
        self._odd = ""
        if block_tokens % hash_tokens:
            self._odd = (f"--block-size {block_tokens} is no multiple of vLLM's hash block of {hash_tokens} tokens: "
                         "choose one that is")
        self._algorithm = algorithm
        self._trust = trust
        self._decode = decode
        self._entries: dict[str, _Entry] = {}
        self._looked_up: tuple[str, _Entry] | None = None  # Of a request that is not allocated yet.

    def known(self, request: Any) -> bool:
        """False for requests whose hashes do not say everything that their KV depends on."""
        return getattr(request, "prompt_embeds", None) is None and getattr(request, "lora_request", None) is None

    def keys(self, request: Any) -> bytes:
        """Keys of all complete blocks that vLLM has hashed, 16 bytes each."""
        entry = self._entries.get(request.request_id)
        if entry is None:
            if self._looked_up is None or self._looked_up[0] != request.request_id:
                self._looked_up = (request.request_id, _Entry(request))
            entry = self._looked_up[1]
        return bytes(self._grown(entry, request))

    def track(self, request: Any, *, anew: bool = True) -> None:
        """The request has blocks now; `anew`: they hold nothing of before a reset."""
        if request.request_id not in self._entries:
            found = self._looked_up
            mine = found is not None and found[0] == request.request_id
            self._entries[request.request_id] = found[1] if found is not None and mine else _Entry(request)
        self._looked_up = None
        if anew:
            self._entries[request.request_id].stale = False

    def forget(self, request_id: str) -> None:
        """The request is over."""
        self._entries.pop(request_id, None)

    def problem(self) -> str:
        """Why vLLM's hashes cannot be keys; empty if they can."""
        if self._odd:
            return self._odd
        try:
            probe = bytes(32 if self._algorithm.startswith("sha256") else 16)
            _native.keys_from_hashes(self._algorithm, [probe] * self._group, self._group, self._trust)
        except Exception as error:
            return str(error)
        return ""

    def clear(self) -> None:
        """Forgets all requests: nothing of those that run now is saved."""
        self._entries.clear()
        self._looked_up = None

    def outdate(self) -> None:
        """What the requests have computed is not to be saved any more."""
        for entry in self._entries.values():
            entry.stale = True

    def rewind(self) -> None:
        """What the last step offered was not stored: offer it again."""
        for entry in self._entries.values():
            entry.saved = min(entry.saved, entry.saved_before)

    def advance(self, output: Any, *, save: bool) -> list[Save]:
        """Follows one step (vLLM's SchedulerOutput); returns what is complete after it and was not offered yet."""
        saves: list[Save] = []
        for new in output.scheduled_new_reqs:
            entry = self._entries.get(new.req_id)
            if entry:
                entry.ids = list(new.block_ids[0])
                entry.saved, entry.saved_before = 0, 0
                self._complete(entry, new.req_id, new.num_computed_tokens, output, save, saves)
        cached = output.scheduled_cached_reqs
        resumed = getattr(cached, "resumed_req_ids", ())
        for i, request_id in enumerate(cached.req_ids):
            entry = self._entries.get(request_id)
            if entry is None:
                continue
            fresh = cached.new_block_ids[i]
            if request_id in resumed:
                entry.ids = list(fresh[0]) if fresh else []
                entry.saved, entry.saved_before = 0, 0
            elif fresh:
                entry.ids.extend(fresh[0])
            self._complete(entry, request_id, cached.num_computed_tokens[i], output, save, saves)
        return saves

    def _complete(self, entry: _Entry, request_id: str, computed: int, output: Any, save: bool,
                  saves: list[Save]) -> None:
        request = entry.request
        if not save or entry.stale or not self.known(request):
            return
        done = computed + output.num_scheduled_tokens.get(request_id, 0)
        limit = request.num_tokens if self._decode else request.num_prompt_tokens
        keys = self._grown(entry, request)
        end = min(done, limit) // self.block_tokens
        end = min(end, len(keys) // _KEY, len(entry.ids))
        entry.saved_before = entry.saved
        if end > entry.saved:
            saves.append(Save(request_id, bytes(keys[:end * _KEY]), entry.saved, entry.ids[entry.saved:end]))
            entry.saved = end

    def _grown(self, entry: _Entry, request: Any) -> bytearray:
        have = len(entry.keys) // _KEY * self._group
        hashes: Sequence[bytes] = request.block_hashes[have:]
        if len(hashes) >= self._group:
            entry.keys += _native.keys_from_hashes(self._algorithm, hashes, self._group, self._trust)
        return entry.keys
