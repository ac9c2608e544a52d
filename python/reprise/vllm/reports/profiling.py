"""Profiles for a Pyroscope server, and NVTX ranges, where the settings ask for them.

The agent is native code, one in a process, which scheduler and worker may share; it starts on a thread of its own, so
that nobody waits for it. Without it nothing here costs anything worth measuring. Any thread may call anything.
"""

from __future__ import annotations

import importlib
import logging
import threading
from types import TracebackType
from typing import Any

logger = logging.getLogger("vllm.reprise")

_APPLICATION = "aibrix.kvcache"  # As the drop-in calls itself: dashboards go by it.
_DOMAIN = "reprise.vllm"


class _Agent:
    """What runs in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = ""
        self.pyroscope: Any = None
        self.nvtx: Any = None

    def start(self, server: str, namespace: str) -> None:
        with self._lock:
            if self._asked:
                return
            self._asked = server
        threading.Thread(target=self._start, args=(server, namespace), name="reprise-profiling", daemon=True).start()

    def _start(self, server: str, namespace: str) -> None:
        try:
            self.nvtx = importlib.import_module("nvtx")
        except Exception as error:
            logger.debug("Reprise: no NVTX ranges: %s", error)
        try:
            agent = importlib.import_module("pyroscope")
            # Copies are made without the GIL, in native code: gil_only would leave them out.
            started = agent.configure(application_name=_APPLICATION, server_address=server, sample_rate=100,
                                      oncpu=True, gil_only=False, tags={"namespace": namespace})
        except ImportError:
            logger.warning("Reprise: no profiles go to %s: there is no pyroscope (pip install pyroscope-io)", server)
            return
        except Exception as error:  # A profiler must not keep an engine from starting.
            logger.warning("Reprise: no profiles go to %s: %s", server, error)
            return
        if started is False:
            logger.warning("Reprise: no profiles go to %s: is there another agent in this process?", server)
            return
        self.pyroscope = agent
        logger.info("Reprise: profiles go to %s", server)


_agent = _Agent()


def start(server: str, namespace: str) -> None:
    """Begins to send profiles, once in a process. Returns at once; what fails is in the log."""
    if server:
        _agent.start(server, namespace)


class span:
    """`with span("load"):` marks what its thread does meanwhile."""

    __slots__ = ("_name", "_pushed", "_tags")

    def __init__(self, name: str) -> None:
        self._name = name
        self._tags: Any = None
        self._pushed: Any = None

    def __enter__(self) -> None:
        try:
            if _agent.pyroscope is not None:
                self._tags = _agent.pyroscope.tag_wrapper({"connector": "reprise", "func": self._name})
                self._tags.__enter__()
            if _agent.nvtx is not None:
                _agent.nvtx.push_range(self._name, domain=_DOMAIN)
                self._pushed = _agent.nvtx
        except Exception as error:
            logger.debug("Reprise: profiling: %s", error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if self._pushed is not None:
                self._pushed.pop_range(domain=_DOMAIN)
            if self._tags is not None:
                self._tags.__exit__(None, None, None)
        except Exception as problem:
            logger.debug("Reprise: profiling: %s", problem)
