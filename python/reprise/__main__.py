"""`reprise`, `python -m reprise`: the command line that came with this package."""

import os
import sys
from pathlib import Path

from . import _native


def main() -> None:
    """Becomes the command line."""
    _become(sys.argv[1:])


def serve() -> None:
    """`reprised`: the same as `reprise serve`."""
    _become(["serve", *sys.argv[1:]])


def _become(arguments: list[str]) -> None:
    # Beside the native module: in an editable installation this file lies in the source tree, and the two do not.
    binary = Path(_native.__file__).parent / "bin" / "reprise"
    # In place of this process: signals, exit code and terminal are the program's own.
    os.execv(binary, ["reprise", *arguments])


if __name__ == "__main__":
    main()
