"""The version of the API that this package has, which is what callers compare. Its own is in its metadata."""

from __future__ import annotations

__all__ = ["__commit_id__", "__version__", "__version_tuple__", "commit_id", "version", "version_tuple"]

__version__ = version = "0.8.0"
__version_tuple__ = version_tuple = (0, 8, 0)
__commit_id__ = commit_id = None
