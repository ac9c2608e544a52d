"""What a user types and reads: bad input, ctrl-C, configuration."""

import json
import unittest

import harness
from harness import line


class BadInput(harness.Case):
    def test_a_malformed_line_is_reported_with_its_number_and_skipped(self):
        trace = self.trace(line([1, 2]), "{oops", line([1, 2]), '{"timestamp":1,"input_length":5,"hash_ids":[1,2]}')
        done = self.run_cli("replay", trace, "--capacity-blocks", 10)
        self.assertIn("trace.jsonl:2: skipped: not JSON", done.stderr)
        self.assertIn("trace.jsonl:4: skipped: input_length 5", done.stderr)
        self.assertIn("2 requests", done.stdout)
        self.assertIn("2 malformed lines", done.stdout)

    def test_strict_stops(self):
        trace = self.trace(line([1, 2]), "{oops", line([1, 2]))
        for extra in ([], ["--no-bytes"]):
            done = self.run_cli("replay", trace, "--capacity-blocks", 10, "--strict", *extra, expect=1)
            self.assertIn("trace.jsonl:2: not JSON", done.stderr)

    def test_a_flipped_byte_is_reported(self):
        trace = self.trace(line([1, 2, 3]), line([1, 2, 3]))
        done = self.run_cli("replay", trace, "--capacity-blocks", 10, "--flip-byte", 2, expect=1)
        self.assertIn("WRONG BYTES", done.stderr)
        self.assertIn("request 2, block 1", done.stderr)
        self.assertIn("byte 2048", done.stderr)
        self.run_cli("replay", trace, "--capacity-blocks", 10)

    def test_bad_options_name_the_option_and_the_limit(self):
        trace = self.trace(line([1]))
        for arguments, words in [
            (["--capacity-blocks", "0"], ["--capacity-blocks", "1 to 2147483648"]),
            (["--block-bytes", "2GiB"], ["--block-bytes", "1GiB"]),
            (["--l2-threads", "0"], ["--l2-threads", "1 to 256"]),
            (["--ingest", "SOME"], ["--l2-ingest", "ALL, HOT or EVICTED"]),
            (["--policy", "lur"], ["--policy", "did you mean 'lru'?"]),
            (["--polcy", "lru"], ["--polcy", "did you mean '--policy'?"]),
            (["--tier", "dsk:/x"], ["dsk"]),
            # More memory than any machine has: refused before anything is allocated.
            (["--capacity-blocks", "2147483648", "--block-bytes", "16KiB"], ["l1.capacity"]),
        ]:
            with self.subTest(arguments=arguments):
                done = self.run_cli("replay", trace, *arguments, expect=2)
                for word in words:
                    self.assertIn(word, done.stderr)

    def test_an_unreadable_trace(self):
        done = self.run_cli("replay", self.folder / "none.jsonl", "--capacity-blocks", 10, expect=2)
        self.assertIn("none.jsonl", done.stderr)
        broken = self.folder / "broken.jsonl.zst"
        broken.write_bytes(b"\x28\xb5\x2f\xfdnot really")
        done = self.run_cli("replay", broken, "--capacity-blocks", 10, expect=2)
        self.assertIn("zstd", done.stderr)

    def test_unknown_commands_are_suggested(self):
        self.assertIn("did you mean 'replay'?", self.run_cli("reply", expect=2).stderr)


class Interrupted(harness.Case):
    def test_ctrl_c_ends_with_the_table_so_far(self):
        # An hour of waiting between the two requests.
        trace = self.trace(line([1, 2]), line([1, 2], timestamp=3_600_000))
        page = self.folder / "page.html"
        code, out, err = self.interrupt("replay", trace, "--capacity-blocks", 10, "--pace", 1, "--html", page,
                                        after=1.5)
        self.assertEqual(code, 130, err)
        self.assertIn("stopped early", out)
        self.assertIn("1 requests", out)
        self.assertTrue(page.exists())


class Configuration(harness.Case):
    def test_check_says_where_each_option_comes_from(self):
        config = self.folder / "reprise.toml"
        config.write_text('[l1]\ncapacity = "8MiB"\n[l2]\nurl = "disk:%s?capacity=64MiB"\n' % (self.folder / "tier"))
        done = self.run_cli("check", "--l1-policy", "lru",
                            environment={"REPRISE_CONFIG": str(config), "REPRISE_L2_THREADS": "3",
                                         "REPRISE_L2_URI": "x"})
        for text in ("reprise.toml:2", "REPRISE_L2_THREADS", "--l1-policy", "sound",
                     "REPRISE_L2_URI (did you mean 'REPRISE_L2_URL'?)"):
            self.assertIn(text, done.stdout)
        self.assertFalse((self.folder / "tier").exists(), "check must change nothing")

    def test_check_refuses_what_cannot_work(self):
        self.assertIn("l1.capacity", self.run_cli("check", "--l1-capacity", "60TiB", expect=1).stdout)
        self.assertIn("l1.policy", self.run_cli("check", "--l1-policy", "none", expect=1).stdout)
        self.assertIn("l2.url", self.run_cli("check", "--l2-url", "disk:/proc/version/x", expect=1).stdout)

    def test_the_documentation_is_up_to_date(self):
        text = (harness.SOURCE / "docs/configuration.md").read_text()
        self.assertEqual(text, self.run_cli("options", "--markdown").stdout)


class Page(harness.Case):
    def test_holds_its_data_and_loads_nothing(self):
        page = self.folder / "page.html"
        self.run_cli("replay", self.trace(line([1, 2]), line([1, 2])), "--policy", "all", "--capacity-blocks", "1,10",
                     "--html", page)
        text = page.read_text()
        data = text.split('<script id="data" type="application/json">')[1].split("</script>")[0]
        self.assertGreaterEqual(len(json.loads(data)["results"]), 8)
        for outside in (" src=", "<link", "@import", "url("):
            self.assertNotIn(outside, text)


if __name__ == "__main__":
    unittest.main()
