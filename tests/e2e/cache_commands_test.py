"""put, get, stat and bench as an operator types them, over embedded caches: a disk tier joins the commands."""

import hashlib
import json
import os
import pathlib
import struct
import subprocess
import unittest

import harness


class PutAndGet(harness.Case):
    def setUp(self):
        super().setUp()
        self.cache = ["--cache", "embedded:", "--l1-capacity", "16MiB", "--l1-populate", "off",
                      "--l2-url", f"disk:{self.folder / 'tier'}?capacity=256MiB"]

    def test_a_file_comes_back_from_another_process(self):
        source, copy = self.folder / "in.bin", self.folder / "out.bin"
        source.write_bytes(os.urandom(40_000_000))  # more than memory holds
        done = self.run_cli("put", source, *self.cache)
        self.assertIn("0 declined", done.stdout)
        done = self.run_cli("get", copy, *self.cache)
        self.assertIn("40,000,000 bytes", done.stderr)
        self.assertEqual(copy.read_bytes(), source.read_bytes())

    def test_pipes(self):
        text = os.urandom(3_000_000)
        env = {**harness.CLEAN, "REPRISE_CACHE": "embedded:"}
        options = self.cache[2:]
        subprocess.run([harness.BINARY, "put", *options], input=text, env=env, check=True, capture_output=True, timeout=60)
        done = subprocess.run([harness.BINARY, "get", *options], env=env, check=True, capture_output=True, timeout=60)
        self.assertEqual(done.stdout, text)

    def test_what_is_not_there_is_a_problem_and_leaves_no_file(self):
        copy = self.folder / "out.bin"
        done = self.run_cli("get", copy, *self.cache, "--prompt", "nothing", expect=1)
        self.assertIn("block 0: miss", done.stderr)
        self.assertFalse(copy.exists())
        done = self.run_cli("get", "--dry-run", *self.cache, "--prompt", "nothing", expect=1)
        self.assertIn("0 blocks", done.stdout)

    def test_tokens_are_the_names_an_engine_would_use(self):
        # docs/identity.md: the first key is SHA-256 over the block's tokens as little-endian words.
        source = self.folder / "kv.bin"
        source.write_bytes(os.urandom(2 * 4096))
        names = ["--tokens", ",".join(map(str, range(8))), "--block-tokens", 4, "--block-bytes", 4096, "--model", "m"]
        done = self.run_cli("put", source, *names, *self.cache)
        self.assertIn(hashlib.sha256(struct.pack("<4I", 0, 1, 2, 3)).hexdigest()[:32], done.stdout)
        copy = self.folder / "copy.bin"
        self.run_cli("get", copy, *names, *self.cache)
        self.assertEqual(copy.read_bytes(), source.read_bytes())
        names[-1] = "other"
        self.run_cli("get", copy, *names, *self.cache, expect=1)

    def test_stat_shows_the_tier(self):
        source = self.folder / "in.bin"
        source.write_bytes(bytes(1_000_000))
        self.run_cli("put", source, *self.cache)
        stats = json.loads(self.run_cli("stat", "--json", *self.cache).stdout)
        self.assertEqual(stats["l2"]["blocks"], 16)
        self.assertEqual(stats["l1"]["capacity_bytes"], 16 << 20)
        self.assertIn("disk", self.run_cli("stat", *self.cache).stdout)


class Bench(harness.Case):
    def bench(self, *arguments):
        done = self.run_cli("bench", "--cache", "embedded:", "--sizes", "32KiB,1MiB", "--batch", "1,8", "--threads", 2,
                            "--duration", "100ms", "--working-set", "64MiB", "--json", "-", *arguments)
        return json.loads(done.stdout)["cases"]

    def test_copies_and_in_place(self):
        for form in ([], ["--in-place"]):
            cases = self.bench(*form)
            self.assertEqual([(c["block_bytes"], c["batch"]) for c in cases],
                             [(32 << 10, 1), (32 << 10, 8), (1 << 20, 1), (1 << 20, 8)])
            for case in cases:
                with self.subTest(form=form, case=case["block_bytes"]):
                    self.assertEqual(case["wrong_blocks"], 0)
                    self.assertGreater(case["checked_blocks"], 0)
                    for side in ("get", "put"):
                        self.assertEqual(case[side]["blocks_done"], case[side]["blocks_asked"])

    def test_ctrl_c_ends_with_the_table_so_far(self):
        code, out, err = self.interrupt("bench", "--cache", "embedded:", "--sizes", "32KiB", "--batch", 1, "--duration",
                                        "1h", after=1.5)
        self.assertEqual(code, 130, err)
        self.assertIn("32KiB x 1 get", out)


class Names(harness.Case):
    def test_reprised_is_reprise_serve(self):
        server = pathlib.Path(harness.BINARY).parent / "reprised"
        done = subprocess.run([server, "--l1-capacity", "4X"], capture_output=True, text=True, env=harness.CLEAN,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("reprise serve: --l1-capacity", done.stderr)
        help_text = subprocess.run([server, "--help"], capture_output=True, text=True, env=harness.CLEAN, timeout=60,
                                   check=True).stdout
        self.assertIn("--listen-unix", help_text)


if __name__ == "__main__":
    unittest.main()
