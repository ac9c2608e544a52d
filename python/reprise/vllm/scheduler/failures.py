"""Keys whose blocks were promised and did not come: not promised again before they are stored anew, or for a minute.

Otherwise vLLM would be told to load them again, at once and for ever. Called by the scheduler's one thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

from ..groups import KEY
from ..plan import Save

_MAX_KEYS = 1 << 16
_FORGET_AFTER = 60.0  # Seconds after which a key is tried again that was not seen to be stored anew.


class FailedKeys:
    """The latest of them, and when."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, float] = OrderedDict()

    def add(self, keys: Iterable[bytes]) -> None:
        """These did not come."""
        now = time.monotonic()
        for key in keys:
            self._keys[key] = now
            self._keys.move_to_end(key)
        while len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)

    def first(self, keys: bytearray, begin: int, end: int) -> int:
        """The first of blocks [begin, end) that failed, or `end`. `keys`: of all blocks, 16 bytes each."""
        old = time.monotonic() - _FORGET_AFTER
        while self._keys and next(iter(self._keys.values())) < old:
            self._keys.popitem(last=False)
        if self._keys:
            for i in range(begin, end):
                if bytes(keys[i * KEY:(i + 1) * KEY]) in self._keys:
                    return i
        return end

    def stored(self, saves: Iterable[Save]) -> None:
        """These are stored anew."""
        if self._keys:
            for save in saves:
                for at in range(save.first * KEY, len(save.keys), KEY):
                    self._keys.pop(save.keys[at:at + KEY], None)

    def clear(self) -> None:
        """Forgets all."""
        self._keys.clear()
