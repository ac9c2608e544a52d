"""The command line that comes with the package, under its three names."""

import subprocess
import sys
from pathlib import Path

import pytest

import reprise

BESIDE = Path(sys.executable).parent


@pytest.mark.parametrize(("command", "words"), [
    ([sys.executable, "-P", "-m", "reprise", "--version"], reprise.__version__),
    ([BESIDE / "reprise", "--version"], reprise.__version__),
    ([BESIDE / "reprised", "--help"], "reprise serve"),
], ids=["module", "reprise", "reprised"])
def test_it_is_there(command, words):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert words in done.stdout
