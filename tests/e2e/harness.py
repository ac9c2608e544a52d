"""Runs the binary. Environment: REPRISE_BINARY, REPRISE_SOURCE (the tree), set by CTest."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ.get("REPRISE_SOURCE", pathlib.Path(__file__).parents[2]))
BINARY = os.environ.get("REPRISE_BINARY", str(SOURCE / "build/release/reprise"))
TRACE = os.environ.get("REPRISE_TRACE", str(SOURCE / "bench/traces/conversation_trace.jsonl.zst"))

# Options must come from the test alone.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("REPRISE_")}


def line(ids, timestamp=0):
    """One request over full blocks of 512 tokens."""
    return json.dumps({"timestamp": timestamp, "input_length": 512 * len(ids), "output_length": 1, "hash_ids": ids})


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="reprise-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_cli(self, *arguments, expect=0, environment=None, timeout=300):
        done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                              env={**CLEAN, **(environment or {})}, check=False)
        self.assertEqual(done.returncode, expect, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done

    def replay(self, *arguments, expect=0, **kwargs):
        """The JSON's results."""
        path = self.folder / "result.json"
        path.unlink(missing_ok=True)
        self.run_cli("replay", *arguments, "--json", path, expect=expect, **kwargs)
        return json.loads(path.read_text())["results"]

    def trace(self, *lines):
        path = self.folder / "trace.jsonl"
        path.write_text("".join(text + "\n" for text in lines))
        return path

    def interrupt(self, *arguments, after):
        """Sends SIGINT after some seconds; returns (exit code, stdout, stderr)."""
        with subprocess.Popen([BINARY, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=CLEAN) as process:
            time.sleep(after)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err
