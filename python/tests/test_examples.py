"""Every examples/*.py runs, ends by itself, and prints what its last lines say (`...` stands for anything)."""

import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# `reprise` needs neither numpy nor torch. Only examples of the drop-in may have them.
RUN = """
import runpy, sys
if not sys.argv[1].startswith("aibrix"):
    sys.modules["numpy"] = sys.modules["torch"] = None
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(name, tmp_path):
    text = (EXAMPLES / name).read_text()
    expected = [line.removeprefix("# prints ") for line in text.splitlines() if line.startswith("# prints ")]
    assert expected, f"{name} does not say at its end what it prints (# prints ...)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE_", "AIBRIX_"))}
    ran = subprocess.run([sys.executable, "-P", "-W", "error", "-c", RUN, name, EXAMPLES / name], cwd=tmp_path,
                         env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    printed = ran.stdout.splitlines()
    assert len(printed) == len(expected), ran.stdout
    for line, wanted in zip(printed, expected, strict=True):
        pattern = "".join(f"[{c}]" if c in "*?[" else c for c in wanted).replace("...", "*")
        assert fnmatch.fnmatchcase(line, pattern), f"{name} printed {line!r}, not {wanted!r}"
    assert list(tmp_path.iterdir()) == []
