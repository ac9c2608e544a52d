"""Refuses to run out of a folder in which the files of two distributions are mixed.

Two distributions have a package `aibrix_kvcache`: this one, as `reprise-kv-aibrix` or as a version `+reprise` of
`aibrix-kvcache`, and the original `aibrix-kvcache`. pip lets both write into the same folder without a word; then some
modules are of the one and some of the other, and uninstalling either takes files of both.
"""

import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_OURS = "reprise-kv-aibrix"
_ORIGINAL = "aibrix-kvcache"
# Only the original has these: found, they were left behind by an installation that no record speaks of.
_LEFTOVERS = ("_aibrix_C*", "_custom_ops.py")
_REMEDY = (
    "Keep one of them. For Reprise:  pip uninstall -y aibrix-kvcache reprise-kv-aibrix"
    "  and then  pip install reprise-kv-aibrix;  remove {folder} in between if it is still there."
)


def _installed() -> Iterator[tuple[str, str, Path]]:
    """Name, version and package folder of each distribution that may hold an `aibrix_kvcache`."""
    for name in (_OURS, _ORIGINAL):
        for found in metadata.distributions(name=name):
            yield name, found.version, Path(str(found.locate_file("aibrix_kvcache"))).resolve()


def check(folder: Path | None = None) -> None:
    """Raises ImportError if `folder` (this package's) holds files of another distribution too.

    An original that lies elsewhere on the path, where this package hides it, is a RuntimeWarning.
    """
    folder = (folder or Path(__file__).parent).resolve()
    remedy = _REMEDY.format(folder=folder)
    here, hidden = [], []
    for name, version, place in _installed():
        if place == folder:
            here.append(f"{name} {version}")
        elif name == _ORIGINAL and "+reprise" not in version:
            hidden.append(f"{name} {version} in {place}")
    original_alone = len(here) == 1 and here[0].startswith(_ORIGINAL) and "+reprise" not in here[0]
    leftovers = [file.name for pattern in _LEFTOVERS for file in sorted(folder.glob(pattern))]
    if len(here) > 1 or original_alone:
        raise ImportError(f"{folder} holds the files of {' and '.join(here)} mixed with Reprise's. {remedy}")
    if leftovers:
        raise ImportError(f"{folder} holds files of the original aibrix-kvcache: {', '.join(leftovers)}. {remedy}")
    if hidden:
        warnings.warn(
            f"aibrix_kvcache is Reprise's, from {folder}; it hides {'; '.join(hidden)}. {remedy}",
            RuntimeWarning,
            stacklevel=2,
        )
