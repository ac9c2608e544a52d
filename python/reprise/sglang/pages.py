"""Pages in a cache: which are there, bringing them back, storing them. Knows nothing of SGLang's classes."""

from collections.abc import Sequence
from typing import Any

import reprise

from .copying import Pages
from .identity import packed_keys
from .settings import Settings


class PageStore:
    """The pages of one namespace in one cache. Any thread may call anything. Raises what the cache raises."""

    def __init__(self, cache: reprise.Cache, ns: reprise.Namespace, settings: Settings) -> None:
        self.ns = ns
        self._cache = cache
        self._settings = settings

    def leading(self, keys: Sequence[str]) -> int:
        """How many of the first pages are there without a gap."""
        return self._cache.match(self._chain(keys), timeout=self._settings.lookup_timeout).blocks

    def present(self, keys: Sequence[str]) -> list[bool]:
        """Which pages are there, one by one."""
        found: list[bool] = []
        while len(found) < len(keys):
            run = self.leading(keys[len(found):])
            found += [True] * run
            if len(found) < len(keys):
                found.append(False)
        return found

    def load(self, keys: Sequence[str], pages: Pages) -> int:
        """Fills the first pages that are there; returns how many. What lies behind a missing one is left alone, and a
        page that is not counted may hold anything."""
        self._check(pages)
        with self._cache.acquire(self._chain(keys), timeout=self._settings.load_timeout) as lease:
            count = min(len(lease), len(keys))
            return count if count and pages.scatter_from(lease, count) else 0

    def save(self, keys: Sequence[str], pages: Pages) -> list[bool]:
        """Stores pages; says of each whether it is in the cache now."""
        self._check(pages)
        with self._cache.reserve(self._chain(keys), timeout=self._settings.store_timeout) as room:
            pages.gather_into(room)
            if room.commit() == len(keys):
                return [True] * len(keys)
        return self.present(keys)

    def fetch(self, keys: Sequence[str], out: Sequence[Any]) -> int:
        """Like load, into one writable buffer a page."""
        return self._cache.get(self._chain(keys), out, timeout=self._settings.load_timeout).blocks

    def offer(self, keys: Sequence[str], pages: Sequence[Any]) -> int:
        """Like save, from one buffer a page; returns how many are in the cache now."""
        stored = self._cache.put(self._chain(keys), pages, timeout=self._settings.store_timeout)
        return stored.accepted + stored.present

    def _chain(self, keys: Sequence[str]) -> reprise.Chain:
        return reprise.Chain(self.ns, packed_keys(keys))

    def _check(self, pages: Pages) -> None:
        if pages.page_bytes != self.ns.block_bytes:
            raise ValueError(f"a page of {pages.page_bytes} bytes where {self.ns.block_bytes} are kept")


