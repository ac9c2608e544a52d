"""Profiles for a Pyroscope server, and NVTX ranges, where AIBRIX_KV_CACHE_OL_PROFILING_ENABLED asks for them.

Importing this starts nothing: the first manager calls ``start``. Without the variable nothing here costs anything worth
measuring.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from . import envs

F = TypeVar("F", bound=Callable[..., Any])

_logger = logging.getLogger("aibrix_kvcache.profiling")
_COLORS = ("green", "blue", "yellow", "purple", "rapids", "red")


class _Profiler:
    """The Pyroscope agent of this process, of which there can be one only, as the agent is native code with threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self.agent: Any = None  # the module while it runs, read without the lock

    def start(self) -> bool:
        with self._lock:
            if not self._asked and envs.AIBRIX_KV_CACHE_OL_PROFILING_ENABLED:
                self._asked = True
                self.agent = self._configured()
            return self.agent is not None

    def _configured(self) -> Any:
        address = envs.AIBRIX_KV_CACHE_OL_PROFILING_SERVER_ADDRESS
        try:
            agent = importlib.import_module("pyroscope")
        except ImportError:
            _logger.warning(
                "AIBRIX_KV_CACHE_OL_PROFILING_ENABLED is set, but there is no pyroscope: pip install pyroscope-io"
            )
            return None
        try:
            # gil_only would leave out threads that have released the GIL, which is to say all the copying, hashing and
            # reading of the cache: it happens in native code. It is found at the line of Python that called it; the
            # agent cannot look further down.
            started = agent.configure(
                application_name="aibrix.kvcache",
                server_address=address,
                sample_rate=100,
                oncpu=True,
                gil_only=False,
                tags={"namespace": envs.AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE},
            )
        except Exception as error:  # a profiler must not keep a cache from starting
            _logger.warning("no profiles go to %s: %s", address, error)
            return None
        if started is False:
            _logger.warning("no profiles go to %s: the agent did not start; is there another one?", address)
            return None
        return agent

    def stop(self) -> None:
        with self._lock:
            agent, self.agent, self._asked = self.agent, None, False
        if agent is not None:
            agent.shutdown()


_profiler = _Profiler()


def start() -> bool:
    """Starts sending profiles, once per process, if the environment asks for it; whether they are sent."""
    return _profiler.start()


def stop() -> None:
    """Sends what is left and stops. A later ``start`` begins anew."""
    _profiler.stop()


class tag_wrapper:
    """``with tag_wrapper({"func": "acquire"}):`` - samples of this thread have these tags meanwhile.

    Also decorates functions. Tags belong to the thread: a coroutine keeps them from its first step to its last, and
    other tasks of the loop have them too while it waits. Nothing happens while no profiles are sent.
    """

    __slots__ = ("_entered", "_tags")

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags
        self._entered: Any = None

    def __enter__(self) -> None:
        agent = _profiler.agent
        if agent is not None:
            self._entered = agent.tag_wrapper(self._tags)
            self._entered.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.__exit__(None, None, None)  # an exception is none of its business

    def __call__(self, func: F) -> F:
        return _around(func, lambda: tag_wrapper(self._tags), lambda: tag_wrapper(self._tags))


@functools.cache
def _nvtx() -> Any:
    """The module nvtx, None where ranges are not asked for or it is not there. Asked once."""
    try:
        return importlib.import_module("nvtx") if envs.AIBRIX_KV_CACHE_OL_PROFILING_ENABLED else None
    except (ImportError, ValueError):  # a bad value is reported when a manager starts
        return None


@functools.cache
def _color(message: str) -> str:
    return _COLORS[int.from_bytes(hashlib.sha256(message.encode()).digest()) % len(_COLORS)]


class _PushedRange:
    """A range on the stack of the thread."""

    __slots__ = ("_domain", "_message")

    def __init__(self, message: str, domain: str) -> None:
        self._message = message
        self._domain = domain

    def __enter__(self) -> None:
        _nvtx().push_range(self._message, color=_color(self._message), domain=self._domain)

    def __exit__(self, *_: object) -> None:
        _nvtx().pop_range(domain=self._domain)


class _FreeRange(_PushedRange):
    """A range that others may overlap, as those of coroutines do."""

    __slots__ = ("_id",)

    def __enter__(self) -> None:
        self._id = _nvtx().start_range(self._message, color=_color(self._message), domain=self._domain)

    def __exit__(self, *_: object) -> None:
        _nvtx().end_range(self._id)


class nvtx_range:
    """Marks what a function or a ``with`` block does as the NVTX range ``msg`` of ``domain``.

    Where ranges are not asked for when the first one is made, a decorated function stays as it is. Coroutine functions
    have ranges from their first step to their last.
    """

    __slots__ = ("_range",)

    def __init__(self, msg: str, domain: str) -> None:
        self._range = _PushedRange(msg, domain)

    def __enter__(self) -> None:
        if _nvtx() is not None:
            self._range.__enter__()

    def __exit__(self, *error: object) -> None:
        if _nvtx() is not None:
            self._range.__exit__(*error)

    def __call__(self, func: F) -> F:
        if _nvtx() is None:
            return func
        message, domain = self._range._message, self._range._domain
        return _around(func, lambda: self._range, lambda: _FreeRange(message, domain))


def _around(func: F, context: Callable[[], Any], context_of_coroutine: Callable[[], Any]) -> F:
    """``func`` inside of a context; coroutine functions as long as they run."""
    wrapped: Any
    if inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with context_of_coroutine():
                return await func(*args, **kwargs)

    else:

        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with context():
                return func(*args, **kwargs)

    return wrapped
