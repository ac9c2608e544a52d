"""A scratch source tree for testing the scripts that check the real one."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class TreeTest(unittest.TestCase):
    """Each test gets an empty tree; `write` fills it and `check` runs a script of the real tree over it."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = scratch.name

    def write(self, path, text=""):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as out:
            out.write(text)

    def check(self, script, *args):
        """(exit code, output) of scripts/SCRIPT --root TREE ARGS."""
        command = [sys.executable, "-B", os.path.join(ROOT, "scripts", script), "--root", self.root, *args]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def assert_fails(self, script, *expected):
        code, output = self.check(script)
        self.assertEqual(code, 1, output)
        for text in expected:
            self.assertIn(text, output)

    def assert_passes(self, script):
        code, output = self.check(script)
        self.assertEqual(code, 0, output)
