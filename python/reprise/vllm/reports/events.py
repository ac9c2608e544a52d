"""KV events for routers: which blocks can be had from the cache through this engine.

A block is announced once the workers have reported the step that stored it, and taken back once it is no longer found.
The cache has no stream of evictions, so a thread looks after what was announced, a few blocks at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from ..groups import KEY
from .event_shape import EventShape
from .tally import Tally

logger = logging.getLogger("vllm.reprise")

_MAX_KNOWN = 1 << 17  # Blocks that are looked after; the oldest one beyond it is taken back.
_MAX_STEPS = 1024  # Steps remembered whose outcome is not known.
_MAX_DOUBTFUL = 1024  # Offers to ask the cache about.
_MAX_WAITING = 1 << 14  # Events that nobody has taken: an engine without work takes none.
_IN_ONE = 1024  # Hashes in one event that takes blocks back.
_TICK = 0.25  # Seconds between two looks.
_PATIENCE = 4.0  # Longest pause before a doubtful block is looked for once more: those of a device come a little later.

Ask = Callable[[int, Sequence[bytes]], Sequence["bool | None"]]
"""Of a KV group's keys, which are there in all ranks; None for what the cache did not say."""


@dataclass
class Offer:
    """Blocks of one request that a step is to store, or to load."""

    request: Any
    """vLLM's; None for one that is over, of which nothing is announced."""
    keys: list[bytes]
    first: int
    """Index of the first of them in the prompt."""
    group: int = 0

    @staticmethod
    def of(request: Any, packed: bytes, first: int, group: int = 0) -> Offer:
        """`packed`: their keys, one after the other."""
        return Offer(request, [packed[at:at + KEY] for at in range(0, len(packed), KEY)], first, group)


@dataclass(slots=True)
class _Known:
    hash: Any
    seen: int = 0
    """Counts reports of the block: what was asked before the last one says nothing."""


@dataclass
class _Doubt:
    """An offer of which it is not known what is there."""

    offer: Offer
    due: float
    pause: float = _TICK


@dataclass
class _Step:
    number: int
    saves: Sequence[Offer]
    loads: Sequence[Offer]


class Events:
    """What is announced. The scheduler's thread calls it; a thread of its own asks the cache."""

    def __init__(self, shape: EventShape, ask: Ask, per_second: int) -> None:
        """`per_second`: blocks looked after in a second; 0 for never, so that nothing is taken back but by `reset`."""
        self._shape = shape
        self._ask = ask
        self._batch = max(1, round(per_second * _TICK)) if per_second else 0
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, bytes], _Known] = OrderedDict()  # Looked at longest ago first.
        self._out: deque[Any] = deque(maxlen=_MAX_WAITING)
        self._doubtful: deque[_Doubt] = deque(maxlen=_MAX_DOUBTFUL)
        self._steps: deque[_Step] = deque(maxlen=_MAX_STEPS)  # Of the scheduler's thread alone.
        self._epoch = 0
        self._stop = threading.Event()
        self._tally = Tally()
        self._thread = threading.Thread(target=self._run, name="reprise-events", daemon=True)
        self._thread.start()

    # --- the scheduler's thread ---

    def planned(self, number: int, saves: Sequence[Offer], loads: Sequence[Offer]) -> None:
        """Step `number` is to move these; `saves` in the order of its plan."""
        if saves or loads:
            self._steps.append(_Step(number, saves, loads))

    def reported(self, number: int, unsaved: Container[int], bad: bool) -> None:
        """All workers have finished step `number`.

        unsaved: indices of saves of which some rank does not have every block. bad: some loads failed.
        """
        while self._steps and self._steps[0].number <= number:
            step = self._steps.popleft()
            known = step.number == number  # Nobody reports those before it any more.
            for at, save in enumerate(step.saves):
                self._take_in(save, sure=known and at not in unsaved, anew=False)
            for load in step.loads:
                self._take_in(load, sure=known and not bad, anew=True)

    def reset(self) -> None:
        """Nothing announced so far can be had any more."""
        self._steps.clear()
        with self._lock:
            self._epoch += 1
            self._doubtful.clear()
            self._take_back(list(self._known))

    def take(self) -> list[Any]:
        """What is to be published, in order."""
        if not self._out:  # Without the lock: a look at it costs the scheduler nothing.
            return []
        with self._lock:
            events = list(self._out)
            self._out.clear()
        return events

    def close(self) -> None:
        """Ends the thread, or leaves it where the cache does not answer."""
        self._stop.set()
        self._thread.join(1.0)

    # --- both ---

    def _take_in(self, offer: Offer, *, sure: bool, anew: bool) -> None:
        if offer.request is None:
            return
        try:
            with self._lock:
                if sure:
                    self._announce(offer, anew=anew)
                else:
                    self._doubtful.append(_Doubt(offer, 0.0))
        except Exception as error:
            self._tally.problem(logger, "KV event", error)

    def _announce(self, offer: Offer, *, anew: bool) -> None:
        """anew: also what is announced already, as a router may have missed it, or have forgotten it."""
        named = [(offer.group, key) for key in offer.keys]
        fresh = [anew or key not in self._known for key in named]
        begin = 0
        while begin < len(fresh):
            end = begin
            while end < len(fresh) and fresh[end]:
                end += 1
            if end > begin:
                event = self._shape.stored(offer.request, offer.first + begin, offer.first + end, offer.group)
                for key, name in zip(named[begin:end], event.block_hashes, strict=True):
                    self._known.setdefault(key, _Known(name))
                self._out.append(event)
            begin = end + 1
        for key in named:
            self._known[key].seen += 1
            self._known.move_to_end(key)
        if len(self._known) > _MAX_KNOWN:
            excess = len(self._known) - _MAX_KNOWN
            self._take_back([key for key, _ in zip(self._known, range(excess), strict=False)])

    def _take_back(self, gone: list[tuple[int, bytes]]) -> None:
        by_group: dict[int, list[Any]] = {}
        for key in gone:
            by_group.setdefault(key[0], []).append(self._known.pop(key).hash)
        for group, hashes in by_group.items():
            for at in range(0, len(hashes), _IN_ONE):
                self._out.append(self._shape.removed(hashes[at:at + _IN_ONE], group))

    # --- the thread that asks ---

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            try:
                self._settle_doubts()
                if self._batch:
                    self._look_after()
            except Exception as error:  # Of whatever kind: what is announced stays so, and is looked at again.
                self._tally.problem(logger, "look at announced blocks", error)

    def _settle_doubts(self) -> None:
        for _ in range(len(self._doubtful)):
            with self._lock:
                if not self._doubtful:
                    return
                doubt, epoch = self._doubtful.popleft(), self._epoch
            now, offer = time.monotonic(), doubt.offer
            answers = self._ask(offer.group, offer.keys) if doubt.due <= now else [None]
            with self._lock:
                if epoch != self._epoch:
                    return
                for at, there in enumerate(answers):
                    if there:
                        one = Offer(offer.request, [offer.keys[at]], offer.first + at, offer.group)
                        self._announce(one, anew=False)
                if doubt.due > now:
                    self._doubtful.append(doubt)
                elif not all(answers) and doubt.pause <= _PATIENCE:
                    self._doubtful.append(_Doubt(offer, now + doubt.pause, 2 * doubt.pause))

    def _look_after(self) -> None:
        with self._lock:
            epoch = self._epoch
            batch = [(key, known.seen) for (key, known), _ in
                     zip(self._known.items(), range(self._batch), strict=False)]
        for group in sorted({key[0] for key, _ in batch}):
            mine = [(key, seen) for key, seen in batch if key[0] == group]
            answers = self._ask(group, [key[1] for key, _ in mine])
            with self._lock:
                if epoch != self._epoch:
                    return
                gone = []
                for (key, seen), there in zip(mine, answers, strict=True):
                    known = self._known.get(key)
                    if known is None or known.seen != seen or there is None:
                        continue
                    self._known.move_to_end(key)
                    if there is False:
                        gone.append(key)
                self._take_back(gone)


def events_for(config: Any, kv_cache_config: Any, hash_tokens: int, per_second: int, ask: Ask) -> Events | None:
    """Where vLLM publishes KV events; None elsewhere. See EventShape and Events."""
    wanted = getattr(config, "kv_events_config", None)
    if wanted is None or not wanted.enable_kv_cache_events or kv_cache_config is None:
        return None
    try:
        return Events(EventShape(hash_tokens, kv_cache_config.kv_cache_groups), ask, per_second)
    except Exception as error:  # A version whose events look otherwise.
        logger.warning("Reprise: no KV events of the cache: %s", error)
        return None
