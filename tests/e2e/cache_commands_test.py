"""put, get, stat, explain, bench and replay as an operator types them: over embedded caches, where a disk tier joins
the commands, and over a server."""

import hashlib
import json
import os
import pathlib
import struct
import subprocess
import unittest

import daemon
import harness
from harness import line


class PutAndGet(harness.Case):
    def setUp(self):
        super().setUp()
        self.cache = ["--cache", "embedded:", "--l1-capacity", "8MiB", "--l1-populate", "off",
                      "--l2-url", f"disk:{self.folder / 'tier'}?capacity=256MiB"]

    def test_a_file_comes_back_from_another_process(self):
        source, copy = self.folder / "in.bin", self.folder / "out.bin"
        source.write_bytes(os.urandom(20_000_000))  # more than memory holds
        done = self.run_cli("put", source, *self.cache)
        self.assertIn("0 declined", done.stdout)
        done = self.run_cli("get", copy, *self.cache)
        self.assertIn("20,000,000 bytes", done.stderr)
        self.assertEqual(copy.read_bytes(), source.read_bytes())

    def test_pipes(self):
        text = os.urandom(3_000_000)
        env = {**harness.CLEAN, "REPRISE_CACHE": "embedded:"}
        options = self.cache[2:]
        subprocess.run([harness.BINARY, "put", *options], input=text, env=env, check=True, capture_output=True,
                       timeout=60)
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
        self.assertEqual(stats["l1"]["capacity_bytes"], 8 << 20)
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


class Served(daemon.Case):
    def setUp(self):
        super().setUp()
        self.token = self.folder / "admin.token"
        self.token.write_text("let-me-look-at-the-pages\n")
        self.token.chmod(0o600)
        self.server = self.daemon("--l1-capacity", "64MiB", "--admin-token-file", self.token, tcp=True)
        self.urls = {"unix": self.server.unix_url, "tcp": self.server.tcp_url}

    def test_what_is_put_through_one_door_is_got_through_the_other(self):
        source, copy = self.folder / "in.bin", self.folder / "out.bin"
        for put, get in (("unix", "tcp"), ("tcp", "unix")):
            with self.subTest(put=put, get=get):
                source.write_bytes(os.urandom(5_000_000))
                self.assertIn("77 new, 0 present", self.run_cli("put", source, "--cache", self.urls[put]).stdout)
                self.run_cli("get", copy, environment={"REPRISE_CACHE": self.urls[get]})
                self.assertEqual(copy.read_bytes(), source.read_bytes())
                look = self.run_cli("get", "--dry-run", "--cache", self.urls[get]).stdout
                self.assertIn("77 blocks of 64KiB are there: 77 from memory", look)

    def test_stat_and_explain_tell_of_it(self):
        source = self.folder / "in.bin"
        source.write_bytes(bytes(100_000))
        key = self.run_cli("put", source, "--cache", self.urls["unix"]).stdout.split("first key ")[1].split()[0]
        for url in self.urls.values():
            self.assertEqual(json.loads(self.run_cli("stat", "--json", "--cache", url).stdout)["l1"]["blocks"], 2)
            self.assertIn(url, self.run_cli("stat", "--cache", url).stdout)
        ask = ["explain", "--admin", self.server.admin_url]
        self.assertIn("--token-file", self.run_cli(*ask, key, expect=2).stderr)
        self.assertIn("tenant default", self.run_cli(*ask, "--token-file", self.token, key).stdout)
        self.assertIn("No tenant", self.run_cli(*ask, "--token-file", self.token, "0" * 32, expect=1).stdout)

    def test_bench_and_replay_leave_nothing_wrong(self):
        for url in self.urls.values():
            done = self.run_cli("bench", "--cache", url, "--sizes", "32KiB,1MiB", "--batch", "1,4", "--threads", 2,
                                "--duration", "100ms", "--working-set", "16MiB", "--json", "-")
            for case in json.loads(done.stdout)["cases"]:
                self.assertEqual(case["wrong_blocks"], 0)
                self.assertGreater(case["get"]["blocks_done"], 0)
                self.assertGreater(case["put"]["blocks_done"], 0)
            trace = self.trace(line([1, 2, 3]), line([1, 2, 4]), line([1, 2, 3]))
            result = self.replay(trace, "--cache", url)[0]
            self.assertEqual((result["l1_blocks"], result["wrong_blocks"]), (5, 0))
            self.assertEqual(result["policy"], "attached")
        self.assertIn("--policy", self.run_cli("replay", trace, "--cache", url, "--policy", "lru", expect=2).stderr)

    def test_when_it_is_gone_they_say_so(self):
        self.server.end()
        for command, code in (("stat", 1), ("get", 2), ("bench", 2)):
            done = self.run_cli(command, "--cache", self.urls["unix"], "--attach-timeout", "200ms", expect=code)
            self.assertIn("nothing answers at 'unix://", done.stderr)


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
