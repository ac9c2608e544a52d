"""scripts/run_steps: what is counted, and that nothing that fails is lost."""
import os
import subprocess
import sys
import unittest

from tree import ROOT, TreeTest

CTEST = """\
91% tests passed, 1 tests failed out of 11

The following tests did not run:
\t  4 - Uring.Reads (Skipped)
"""


class RunSteps(TreeTest):
    def steps(self, table):
        """(exit code, output lines) of a run over the table."""
        self.write("table", table)
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "scripts", "run_steps"), f"{self.root}/table"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env={**os.environ, "DEV_LOGS": f"{self.root}/logs"})
        return done.returncode, done.stdout.splitlines()

    def test_adds_up(self):
        self.write("ctest", CTEST)
        code, out = self.steps(f"# a comment\nunit 1 cat {self.root}/ctest; false\nfuzz 1 echo 3 passed, 0 failed\n"
                               "gtest 1 echo '[  PASSED  ] 5 tests.'\nbuild 1 true\n")
        self.assertEqual((code, out[-1]), (1, "17 passed, 1 failed"))
        self.assertIn("  skipped: Uring.Reads", out)
        self.assertTrue(any(line.startswith("unit: FAILED, 9 passed, 1 failed, 0 s of 60 s") for line in out), out)

    def test_all_well(self):
        code, out = self.steps("a 1 echo 2 passed, 0 failed\nb 1 echo '100% tests passed, 0 tests failed out of 4'\n")
        self.assertEqual((code, out[-1]), (0, "6 passed, 0 failed"))

    def test_pytest_closes_with_words_of_its_own(self):
        for name, line in (("one", "63 passed, 2 warnings in 61.22s (0:01:01)"),
                           ("two", "==== 2 failed, 37 passed, 1 skipped, 1 error in 3.10s ====")):
            self.write(name, line + "\n")
        code, out = self.steps(f"both 1 cat {self.root}/one {self.root}/two; false\n")
        self.assertEqual((code, out[-1]), (1, "100 passed, 3 failed"))
        self.assertIn("  skipped: 1 of pytest's", out)

    def test_a_step_that_fails_without_a_count_is_a_failure_and_the_rest_still_runs(self):
        code, out = self.steps("build 1 echo no such compiler; exit 3\nunit 1 echo 2 passed, 0 failed\n")
        self.assertEqual((code, out[-1]), (1, "2 passed, 1 failed"))
        self.assertIn("  | no such compiler", out)

    def test_out_of_time_ends_the_whole_step(self):
        code, out = self.steps(f"slow 0.01 (sleep 5; touch {self.root}/late) & wait\n")
        self.assertEqual((code, out[-1]), (1, "0 passed, 1 failed"))
        self.assertTrue(any(line.startswith("slow: OUT OF TIME") for line in out), out)

    def test_a_table_that_makes_no_sense(self):
        self.assertNotEqual(self.steps("unit soon ctest\n")[0], 0)
        self.assertNotEqual(self.steps("# nothing\n")[0], 0)


if __name__ == "__main__":
    unittest.main()
