"""Which blocks each running request has, and which of them are complete: the scheduler side's memory of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import _native
from ..groups import KEY, NULL_BLOCK, Group
from ..plan import Save


@dataclass
class _Table:
    """Of one KV group."""

    ids: list[int] = field(default_factory=list)
    saved: int = 0
    """Blocks before this one are stored, or were offered."""
    saved_before: int = 0
    """What `saved` was before the last step that offered anything."""


@dataclass
class _Entry:
    request: Any
    tables: list[_Table]
    keys: dict[int, bytearray] = field(default_factory=dict)
    """By tokens of a block."""
    stale: bool = False
    """Its KV is of before a reset: nothing of it is saved until it begins anew."""

    def begin(self, block_ids: Sequence[Sequence[int]]) -> None:
        """It has these blocks and no others."""
        self.tables = [_Table(list(ids)) for ids in block_ids]


class BlockTables:
    """Block ids and keys by request, for each KV group."""

    def __init__(self, groups: Sequence[Group], hash_tokens: int, algorithm: str, *, trust: bool,
                 decode: bool) -> None:
        """`hash_tokens`: tokens of one of vLLM's block hashes; each group's `block_tokens` is a multiple."""
        self._groups = groups
        self.hash_tokens = self._hash_tokens = hash_tokens
        self._algorithm = algorithm
        self._trust = trust
        self._decode = decode
        self._entries: dict[str, _Entry] = {}
        self._looked_up: tuple[str, _Entry] | None = None  # Of a request that is not allocated yet.

    def known(self, request: Any) -> bool:
        """False for requests whose hashes do not say everything that their KV depends on."""
        return getattr(request, "prompt_embeds", None) is None and getattr(request, "lora_request", None) is None

    def keys(self, request: Any) -> list[bytearray]:
        """By group: keys of all complete blocks that vLLM has hashed, 16 bytes each. They are not the caller's."""
        entry = self._entries.get(request.request_id)
        if entry is None:
            if self._looked_up is None or self._looked_up[0] != request.request_id:
                self._looked_up = (request.request_id, self._new(request))
            entry = self._looked_up[1]
        return [self._grown(entry, request, group.block_tokens) for group in self._groups]

    def track(self, request: Any, *, anew: bool = True, old: bool = False) -> None:
        """The request has blocks now. `anew`: it begins with them; `old`: some hold KV of before a reset."""
        if request.request_id not in self._entries:
            found = self._looked_up
            mine = found is not None and found[0] == request.request_id
            self._entries[request.request_id] = found[1] if found is not None and mine else self._new(request)
        self._looked_up = None
        if anew:
            self._entries[request.request_id].stale = old

    def request(self, request_id: str) -> Any:
        """vLLM's Request of one that has blocks; None for others."""
        entry = self._entries.get(request_id)
        return entry.request if entry else None

    def forget(self, request_id: str) -> None:
        """The request is over."""
        self._entries.pop(request_id, None)

    def problem(self) -> str:
        """Why vLLM's hashes cannot be keys; empty if they can."""
        for group in self._groups:
            if group.block_tokens % self.hash_tokens:
                return (f"blocks of {group.block_tokens} tokens are no multiple of vLLM's hash block of "
                        f"{self.hash_tokens}: choose a --block-size that is")
        try:
            probe = bytes(32 if self._algorithm.startswith("sha256") else 16)
            for group in self._groups:
                count = self._hashes(group.block_tokens)
                _native.keys_from_hashes(self._algorithm, [probe] * count, count, self._trust)
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
            for table in entry.tables:
                table.saved = min(table.saved, table.saved_before)

    def ids(self, request_id: str) -> list[int]:
        """Blocks of a request in the first KV group, as of the last step; they stay the same when it begins anew."""
        entry = self._entries.get(request_id)
        return entry.tables[0].ids if entry else []

    def advance(self, output: Any, *, save: bool) -> list[Save]:
        """Follows one step (vLLM's SchedulerOutput); returns what is complete after it and was not offered yet."""
        saves: list[Save] = []
        for new in output.scheduled_new_reqs:
            entry = self._entries.get(new.req_id)
            if entry:
                entry.begin(new.block_ids)
                self._complete(entry, new.req_id, new.num_computed_tokens, output, save, saves)
        cached = output.scheduled_cached_reqs
        resumed = getattr(cached, "resumed_req_ids", ())
        for i, request_id in enumerate(cached.req_ids):
            entry = self._entries.get(request_id)
            if entry is None:
                continue
            fresh = cached.new_block_ids[i]
            if request_id in resumed:
                entry.begin(fresh or [[] for _ in self._groups])
            elif fresh:
                for table, ids in zip(entry.tables, fresh, strict=True):
                    table.ids.extend(ids)
            self._complete(entry, request_id, cached.num_computed_tokens[i], output, save, saves)
        return saves

    def _complete(self, entry: _Entry, request_id: str, computed: int, output: Any, save: bool,
                  saves: list[Save]) -> None:
        request = entry.request
        if not save or entry.stale or not self.known(request):
            return
        done = computed + output.num_scheduled_tokens.get(request_id, 0)
        limit = request.num_tokens if self._decode else request.num_prompt_tokens
        for index, (group, table) in enumerate(zip(self._groups, entry.tables, strict=True)):
            keys = self._grown(entry, request, group.block_tokens)
            end = min(min(done, limit) // group.block_tokens, len(keys) // KEY, len(table.ids))
            # What left the window before this step may be another request's by now.
            begin = max(table.saved, group.skipped(computed))
            while NULL_BLOCK in table.ids[begin:end]:
                begin = table.ids.index(NULL_BLOCK, begin) + 1
            table.saved_before = table.saved
            if end > begin:
                saves.append(Save(request_id, index, bytes(keys[:end * KEY]), begin, table.ids[begin:end]))
                table.saved = end

    def _new(self, request: Any) -> _Entry:
        return _Entry(request, [_Table() for _ in self._groups])

    def _hashes(self, block_tokens: int) -> int:
        return block_tokens // self._hash_tokens

    def _grown(self, entry: _Entry, request: Any, block_tokens: int) -> bytearray:
        keys = entry.keys.setdefault(block_tokens, bytearray())
        count = self._hashes(block_tokens)
        hashes: Sequence[bytes] = request.block_hashes[len(keys) // KEY * count:]
        if len(hashes) >= count:
            keys += _native.keys_from_hashes(self._algorithm, hashes, count, self._trust)
        return keys
