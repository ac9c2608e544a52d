"""Real installations of the original and of ours, in every order: none of them runs mixed files without a word."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ORIGINAL = "aibrix-kvcache==0.8.0"
# Nothing but the check: the rest of the package needs torch, which these environments do not have.
IMPORT = """
import importlib.util, sys, types
spec = importlib.util.find_spec("aibrix_kvcache")
package = types.ModuleType("aibrix_kvcache")
package.__path__ = list(spec.submodule_search_locations)
sys.modules["aibrix_kvcache"] = package
from aibrix_kvcache import _collision
_collision.check()
print("ours")
"""


def wheel(variable, pattern):
    folder = os.environ.get(variable)
    found = sorted(Path(folder).glob(pattern)) if folder else []
    if not found:
        pytest.skip(f"{variable} does not say where the wheels are: ./dev wheel does")
    return str(found[0])


@pytest.fixture
def ours():
    return wheel("REPRISE_DIST", "reprise_kv_aibrix-*.whl")


@pytest.fixture
def renamed():
    return wheel("REPRISE_RENAMED", "aibrix_kvcache-*.whl")


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """The original's wheel."""
    folder = tmp_path_factory.mktemp("original")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, ORIGINAL],
        capture_output=True, text=True, timeout=300)
    if done.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"no {ORIGINAL} to be had: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return str(next(folder.glob("*.whl")))


class Environment:
    def __init__(self, folder):
        self.python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)

    def pip(self, *words):
        done = subprocess.run([sys.executable, "-m", "pip", "--python", self.python, *words], capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *wheels):
        self.pip("install", "-q", "--no-deps", "--no-compile", *wheels)

    def run(self, code=IMPORT, **environment):
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True, timeout=120,
                              env={**os.environ, **environment})


@pytest.fixture
def scratch(tmp_path):
    return Environment(tmp_path / "env")


def test_ours_alone_is_silent(scratch, ours):
    scratch.install(ours)
    ran = scratch.run()
    assert (ran.stdout, ran.stderr) == ("ours\n", "")


def test_ours_over_the_original_is_refused_with_a_remedy_that_works(scratch, ours, original):
    scratch.install(original)
    scratch.install(ours)
    ran = scratch.run()
    assert ran.returncode == 1
    whole = scratch.run("import aibrix_kvcache")
    assert whole.returncode == 1 and "mixed with Reprise's" in whole.stderr
    assert re.search(r"ImportError: .* reprise-kv-aibrix [0-9.]+ and aibrix-kvcache 0.8.0 ", ran.stderr), ran.stderr
    assert "pip uninstall -y aibrix-kvcache reprise-kv-aibrix" in ran.stderr

    scratch.pip("uninstall", "-q", "-y", "aibrix-kvcache", "reprise-kv-aibrix")
    scratch.install(ours)
    assert scratch.run().stdout == "ours\n"


def test_leftovers_without_a_record_are_refused(scratch, ours, original):
    scratch.install(original)
    site = Path(scratch.run("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    shutil.rmtree(next(site.glob("aibrix_kvcache-*.dist-info")))
    scratch.install(ours)
    ran = scratch.run()
    assert ran.returncode == 1 and "_aibrix_C" in ran.stderr and "_custom_ops.py" in ran.stderr


def test_both_names_of_ours_at_once_are_refused(scratch, ours, renamed):
    scratch.install(ours)
    scratch.install(renamed)
    ran = scratch.run()
    assert ran.returncode == 1 and "aibrix-kvcache 0.8.0+reprise." in ran.stderr


def test_under_its_name_ours_replaces_the_original(scratch, renamed, original):
    scratch.install(original)
    scratch.install(renamed)  # pip itself takes the original away.
    ran = scratch.run()
    assert (ran.stdout, ran.stderr) == ("ours\n", "")


def test_an_original_elsewhere_is_a_warning(scratch, ours, original, tmp_path):
    other = Environment(tmp_path / "other")
    other.install(original)
    site = other.run("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    scratch.install(ours)
    mine = scratch.run("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    ran = scratch.run(PYTHONPATH=f"{mine}{os.pathsep}{site}")
    assert ran.returncode == 0 and "RuntimeWarning" in ran.stderr and "hides aibrix-kvcache 0.8.0" in ran.stderr


def test_pip_prefers_ours_where_both_can_be_had(scratch, renamed, original):
    places = [word for wheel in (renamed, original) for word in ("--find-links", str(Path(wheel).parent))]
    scratch.pip("install", "-q", "--no-deps", "--no-compile", "aibrix-kvcache", *places)
    version = scratch.run("from importlib.metadata import version; print(version('aibrix-kvcache'))").stdout.strip()
    assert version.startswith("0.8.0+reprise.")
    assert all(Version(version) in SpecifierSet(wanted) for wanted in ("==0.8.0", ">=0.8,<1", "~=0.8.0"))
