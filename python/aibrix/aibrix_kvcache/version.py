"""The version, for callers that choose what to do by it."""

from __future__ import annotations

from ._version import __version__, __version_tuple__

__all__ = ["__version__", "__version_tuple__"]


def _prev_minor_version() -> str:
    """The minor version before this one, e.g. ``0.7``."""
    major, minor = __version_tuple__[:2]
    return f"{major}.{minor - 1}"


def _prev_minor_version_was(version_str: str) -> bool:
    """Whether ``version_str`` is the minor version before this one."""
    return version_str == _prev_minor_version()
