"""Shows that the probes tell the two packages apart.

    python prove.py [--venv DIR]            every fault is found in aibrix-kvcache 0.8.0 (installed into DIR if need be)
    python prove.py --ours PYTHON           none is found in what PYTHON has installed
    python prove.py ... NAME...             these alone
    python prove.py --install               only installs the original, where it is not yet

Exits 0 only when every probe ended as expected. A probe that could not be arranged is as unexpected as any.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import defects  # noqa: F401  Fills the table.
from registry import DEFECTS, Defect

HERE = Path(__file__).resolve().parent
DEFAULT_ENV = HERE.parents[2] / "build" / "upstream-env"
UPSTREAM = "aibrix-kvcache==0.8.0"


def environment(folder: Path) -> Path:
    """The interpreter of an environment with the original package, made if it is not there."""
    python = folder / "bin" / "python"
    if python.exists():
        return python
    sys.stderr.write(f"installing {UPSTREAM} into {folder}\n")
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", python, UPSTREAM, "torch", "numpy"], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "-q", "install", UPSTREAM, "torch", "numpy"], check=True)
    return python


def run(python: Path, probe: Defect) -> tuple[int, float, str]:
    """Exit status, seconds, and the last line that was said. Status 1 is the fault, and so is running out of time."""
    start = time.monotonic()
    command = [str(python), str(HERE / "defects.py"), probe.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=probe.seconds + 120)
    except subprocess.TimeoutExpired:
        return 1, time.monotonic() - start, "it hung"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    hung = any(line.startswith("Timeout (") for line in lines)
    said = "it hung" if hung else lines[-1] if lines else ""
    return done.returncode, time.monotonic() - start, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=DEFAULT_ENV, help="where the original is or will be installed")
    parser.add_argument("--ours", type=Path, help="an interpreter that has the package of this tree")
    parser.add_argument("--install", action="store_true", help="only make the environment of the original")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    if given.install:
        environment(given.venv)
        return 0
    probes = [DEFECTS[name] for name in given.names or DEFECTS]
    python = given.ours or environment(given.venv)
    expected = 0 if given.ours else 1
    surprises = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        answers = pool.map(lambda probe: run(python, probe), probes)
        for probe, (status, seconds, said) in zip(probes, answers, strict=True):
            found = {0: "not there", 1: "there"}.get(status, f"unclear ({status})")
            as_expected = status == expected
            surprises += not as_expected
            mark = "ok" if as_expected else "**"
            sys.stdout.write(f"{mark} {probe.number:>3} {probe.name:24} {found:12} {seconds:5.1f} s  {said}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(probes) - surprises} of {len(probes)} as expected: the fault is ")
    sys.stdout.write("not there\n" if given.ours else "there\n")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
