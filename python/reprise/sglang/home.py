"""Where the pages are kept: one cache, opened once, and tried again where it could not be."""

import logging
import threading
import time

import reprise

from .settings import Settings

LOG = logging.getLogger("reprise.sglang")

REMEDY = "check cache_url and the options beside it with `python -m reprise check`"


class Home:
    """The cache of one backend. Any thread may call anything.

    With `strict`, whatever cannot be used raises at once; otherwise that is said once, the engine goes on without a
    cache, and opening it is tried again by a call after `retry_after`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mutex = threading.Lock()  # Not held while a cache is opened.
        self._cache: reprise.Cache | None = None
        self._opening = False
        self._closed = False
        self._next_try = 0.0
        self._open(first=True)

    def cache(self) -> reprise.Cache | None:
        """The cache; None while there is none."""
        with self._mutex:
            due = not (self._cache or self._closed or self._opening) and time.monotonic() >= self._next_try
            if not due:
                return self._cache
        self._open(first=False)
        return self._cache

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _open(self, *, first: bool) -> None:
        with self._mutex:
            if self._opening or self._closed:
                return
            self._opening = True
        cache = None
        try:
            cache = reprise.Cache.open(self._settings.cache_url, **self._settings.options)
            if first and self._settings.strict:
                self._ask(cache)
            LOG.info("pages are kept in %s", self._settings.cache_url)
        except Exception as error:
            if first and self._settings.strict:
                if cache is not None:
                    cache.close()
                raise
            if first:
                LOG.error("serving without Reprise: %s; %s", error, REMEDY)
        finally:
            with self._mutex:
                self._opening = False
                self._next_try = time.monotonic() + self._settings.retry_after
                late = self._closed
                if not late:
                    self._cache = cache
        if late and cache is not None:
            cache.close()

    def _ask(self, cache: reprise.Cache) -> None:
        """Raises if the cache cannot be reached: opening one that is away is no error by itself."""
        ns = reprise.Namespace(model="probe", revision="none", dtype="none", layout="none", block_tokens=1,
                               block_bytes=1, layers=range(1), heads=range(1), salt=self._settings.salt)
        found = cache.match(reprise.Chain(ns, bytes(16)), timeout=self._settings.lookup_timeout)
        if found.reason in (reprise.Reason.UNAVAILABLE, reprise.Reason.TIMEOUT):
            raise ConnectionError(f"no answer from {self._settings.cache_url} ({found.reason.name}); {REMEDY}")
