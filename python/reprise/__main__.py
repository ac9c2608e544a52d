"""`python -m reprise`: the command line that came with this package."""

import os
import sys
from pathlib import Path

from . import _native


def main() -> None:
    # Beside the native module: in an editable installation this file lies in the source tree, and the two do not.
    binary = Path(_native.__file__).parent / "bin" / "reprise"
    # In place of this process: signals, exit code and terminal are the program's own.
    os.execv(binary, ["reprise", *sys.argv[1:]])


if __name__ == "__main__":
    main()
