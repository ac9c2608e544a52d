"""Keys whose blocks were promised and did not come: they are not promised again before they are stored anew.

Otherwise vLLM would be told to load them again, at once and for ever. Called by the scheduler's one thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

from .plan import Save

_KEY = 16
_MAX_KEYS = 1 << 16
_FORGET_AFTER = 60.0  # Seconds after which an engine that saves nothing tries a key again.


class FailedKeys:
    """The latest of them, and when."""

    def __init__(self, *, saves: bool) -> None:
        """`saves`: whether this engine stores anything."""
        self._saves = saves
        self._keys: OrderedDict[bytes, float] = OrderedDict()

    def add(self, keys: Iterable[bytes]) -> None:
        """These did not come."""
        now = time.monotonic()
        for key in keys:
            self._keys[key] = now
            self._keys.move_to_end(key)
        while len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)

    def leading(self, keys: bytes) -> bytes:
        """Those of `keys`, 16 bytes each, that come before the first that failed."""
        if not self._saves:  # Nobody here stores them anew.
            old = time.monotonic() - _FORGET_AFTER
            while self._keys and next(iter(self._keys.values())) < old:
                self._keys.popitem(last=False)
        if self._keys:
            for at in range(0, len(keys), _KEY):
                if keys[at:at + _KEY] in self._keys:
                    return keys[:at]
        return keys

    def stored(self, saves: Iterable[Save]) -> None:
        """These are stored anew."""
        if self._keys:
            for save in saves:
                for at in range(save.first * _KEY, len(save.keys), _KEY):
                    self._keys.pop(save.keys[at:at + _KEY], None)

    def clear(self) -> None:
        """Forgets all."""
        self._keys.clear()
