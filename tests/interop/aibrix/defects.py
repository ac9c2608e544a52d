"""Provokes one known fault of `aibrix-kvcache`, in the package that is installed for this interpreter.

    python defects.py            lists them
    python defects.py NAME       exits 0 when the fault is not there, 1 with a sentence when it is, and with something
                                 else when that could not be found out

One fault, one process: the package reads its environment when it is imported and leaves threads behind. A process that
takes longer than its probe may is ended, which counts as the fault.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

import probes_keys  # noqa: F401  Importing the probes registers them.
import probes_memory  # noqa: F401
import probes_reads  # noqa: F401
import probes_stores  # noqa: F401
from registry import DEFECTS
from rig import PREFIX, NotArrangedError


def run(name: str) -> int:
    """Runs one probe here. Answers the exit status."""
    found = DEFECTS[name]
    for variable in [variable for variable in os.environ if variable.startswith(PREFIX)]:
        del os.environ[variable]
    logging.disable(logging.CRITICAL)
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch")  # Takes a while, which is not the probe's time.
    faulthandler.dump_traceback_later(found.seconds, exit=True)
    with tempfile.TemporaryDirectory(prefix="aibrix-defect-", ignore_cleanup_errors=True) as folder:
        try:
            found.probe(Path(folder))
        except AssertionError as fault:
            sys.stderr.write(f"defect {found.number}, {name}: {fault}\n")
            return 1
        except NotArrangedError as why:
            sys.stderr.write(f"defect {found.number}, {name}: could not be arranged: {why}\n")
            return 3
        except Exception:
            traceback.print_exc()
            return 4
    return 0


def main() -> int:
    if len(sys.argv) == 1:
        for found in DEFECTS.values():
            sys.stdout.write(f"{found.name:24} {found.number:>3}  {found.says}\n")
        return 0
    if len(sys.argv) != 2 or sys.argv[1] not in DEFECTS:
        sys.stderr.write(f"usage: defects.py [NAME], where NAME is one of: {' '.join(DEFECTS)}\n")
        return 2
    status = run(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # Threads that still wait for a hung backend would keep the process.


if __name__ == "__main__":
    sys.exit(main())
