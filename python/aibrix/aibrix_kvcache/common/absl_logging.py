"""Logging that does not repeat itself: loggers as usual, and calls that log some of the times they are called.

Calls of one line of code count together. That line is known by two words of its frame, so a call that does not log
costs well below a microsecond and looks at no stack.
"""

from __future__ import annotations

import logging
import sys
import time
from types import CodeType
from typing import Any

# A site is a place in code that exists, so the code bounds their number; code that is made at run time does not.
_MAX_SITES = 4096

_Site = tuple[CodeType, int, Any]
_counts: dict[_Site, int] = {}
_last: dict[_Site, float] = {}

_HERE = 3  # levels from the caller of log_*() to Logger.log(), for file and line in the record


def getLogger(name: str) -> logging.Logger:
    """The logger of that name. Nothing is configured."""
    return logging.getLogger(name)


def _site(use_call_stack: bool) -> _Site:
    """Who called the function that asks; with ``use_call_stack`` also from where that one was called."""
    frame = sys._getframe(2)
    above = frame.f_back if use_call_stack else None
    return frame.f_code, frame.f_lasti, None if above is None else (above.f_code, above.f_lasti)


def _count(site: _Site) -> int:
    if len(_counts) >= _MAX_SITES and site not in _counts:
        _counts.clear()
    count = _counts.get(site, 0)
    _counts[site] = count + 1
    return count


def log_if(logger: logging.Logger, level: int, msg: str, condition: Any, *args: Any) -> None:
    """Logs ``msg % args`` if ``condition`` is true."""
    if condition:
        logger.log(level, msg, *args, stacklevel=_HERE - 1)


def log_every_n(logger: logging.Logger, level: int, msg: str, n: int, *args: Any, use_call_stack: bool = True) -> None:
    """Logs the first of every ``n`` calls of a line of code; ``use_call_stack`` counts each caller of it by itself."""
    if _count(_site(use_call_stack)) % n == 0:
        logger.log(level, msg, *args, stacklevel=_HERE - 1)


def log_first_n(logger: logging.Logger, level: int, msg: str, n: int, *args: Any, use_call_stack: bool = True) -> None:
    """Logs the first ``n`` calls of a line of code."""
    if _count(_site(use_call_stack)) < n:
        logger.log(level, msg, *args, stacklevel=_HERE - 1)


def log_every_n_seconds(
    logger: logging.Logger, level: int, msg: str, n_seconds: float, *args: Any, use_call_stack: bool = True
) -> None:
    """Logs a call of a line of code if it is the first, or ``n_seconds`` after the last one that was logged."""
    site = _site(use_call_stack)
    now = time.monotonic()
    last = _last.get(site)
    if last is not None and now - last < n_seconds:
        return
    if len(_last) >= _MAX_SITES:
        _last.clear()
    _last[site] = now
    logger.log(level, msg, *args, stacklevel=_HERE - 1)
