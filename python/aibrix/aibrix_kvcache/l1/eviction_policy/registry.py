"""Policies by name, those of the user among them."""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any

from ... import envs
from .base_eviction_policy import BaseEvictionPolicy
from .fifo import FIFO
from .lru import LRU
from .s3fifo import S3FIFO

# What the native cache has: these names never mean a policy in Python.
NATIVE_POLICIES = ("LRU", "FIFO", "S3FIFO", "ADAPTIVE")

_VARIABLE = "AIBRIX_KV_CACHE_OL_L1_CACHE_EVICTION_POLICY"
_BUILT_IN: dict[str, type[BaseEvictionPolicy[Any]]] = {"LRU": LRU, "FIFO": FIFO, "S3FIFO": S3FIFO}


class _Registry:
    """Names that the program gave. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes: dict[str, type[BaseEvictionPolicy[Any]]] = {}

    def add(self, name: str, cls: type[BaseEvictionPolicy[Any]]) -> None:
        with self._lock:
            self._classes[name] = cls

    def remove(self, name: str) -> None:
        with self._lock:
            self._classes.pop(name, None)

    def find(self, name: str) -> type[BaseEvictionPolicy[Any]] | None:
        with self._lock:
            return self._classes.get(name)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._classes)


_registered = _Registry()


def register_eviction_policy(name: str, cls: type[BaseEvictionPolicy[Any]]) -> None:
    """Makes `cls` selectable as AIBRIX_KV_CACHE_OL_L1_CACHE_EVICTION_POLICY=`name`; case does not matter.

    The same name again replaces the class. ValueError for a name of the native cache or an empty one, TypeError for
    what is no complete policy.
    """
    if not name or ":" in name or name.upper() in NATIVE_POLICIES:
        raise ValueError(f"{name!r} cannot be the name of an eviction policy: empty, with a colon, or taken")
    _registered.add(name.upper(), _checked(cls, name))


def unregister_eviction_policy(name: str) -> None:
    """Takes `register_eviction_policy` back."""
    _registered.remove(name.upper())


def find_eviction_policy(name: str) -> type[BaseEvictionPolicy[Any]]:
    """The class of that name: registered, "package.module:Class", or built in. ValueError if there is none."""
    if ":" in name:
        return _imported(name)
    cls = _registered.find(name.upper()) or _BUILT_IN.get(name.upper())
    if cls is None:
        there = [*_BUILT_IN, *_registered.names()]
        raise ValueError(f"unknown eviction policy {name!r}: there is {', '.join(there)}, or package.module:Class")
    return cls


def is_python_policy(name: str) -> bool:
    """True if the name stands for a policy of the user's, so the native cache cannot be used."""
    return ":" in name or _registered.find(name.upper()) is not None


def policy_name_from_environment() -> str:
    """The selected policy's name in capitals, or "package.module:Class" as it was written."""
    written = os.environ.get(_VARIABLE, "").strip()
    name: str = written if ":" in written else envs.AIBRIX_KV_CACHE_OL_L1_CACHE_EVICTION_POLICY
    return name


def _imported(name: str) -> type[BaseEvictionPolicy[Any]]:
    module, _, attribute = name.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"eviction policy {name!r} cannot be imported: {error}") from error
    return _checked(cls, name)


def _checked(cls: Any, name: str) -> type[BaseEvictionPolicy[Any]]:
    if not (isinstance(cls, type) and issubclass(cls, BaseEvictionPolicy)):
        raise TypeError(f"eviction policy {name!r}: {cls!r} is not a subclass of BaseEvictionPolicy")
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise TypeError(f"eviction policy {name!r}: {cls.__name__} lacks {', '.join(missing)}")
    return cls
