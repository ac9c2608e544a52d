"""The stub that is checked in says what the module says."""

import subprocess
import sys
from pathlib import Path

import reprise


def test_the_stub_is_up_to_date(tmp_path):
    made = tmp_path / "_native.pyi"
    script = Path(__file__).parents[2] / "scripts" / "make_stub"
    subprocess.run([sys.executable, script, made], check=True)
    kept = Path(reprise.__file__).with_name("_native.pyi")
    assert kept.read_text() == made.read_text(), "./dev wheel --stub writes it anew"
