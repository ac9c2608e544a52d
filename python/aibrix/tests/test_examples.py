"""The examples for the drop-in run, and print what they should."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples" / "aibrix"


def test_one_engine():
    done = subprocess.run([sys.executable, EXAMPLES / "one_engine.py"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "one engine: of 2560 tokens of the first prompt 2560 were computed",
        "one engine: of 2560 tokens of the second prompt 512 were computed",
        "another, later: of 2560 tokens of the first prompt 0 were computed",
        "another, later: of 2560 tokens of the second prompt 0 were computed",
    ]
