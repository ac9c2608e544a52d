"""Started by home.py as a file: binds this process to its parent's life, then becomes the server.

Done here and not between fork and exec of the engine, which has many threads. Nothing of it stays in memory.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """argv: the parent's process id, the program, its arguments."""
    parent, program, *arguments = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # It ended before the line above.
        sys.exit(0)
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
