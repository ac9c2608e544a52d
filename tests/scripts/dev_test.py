"""./dev teaches, and refuses what it does not know. The budget of CI stays what was promised."""
import os
import subprocess
import unittest

from tree import ROOT


def dev(*args):
    done = subprocess.run([os.path.join(ROOT, "dev"), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    return done.returncode, done.stdout


class Dev(unittest.TestCase):
    def test_help_names_every_verb(self):
        for args in ((), ("help",)):
            code, output = dev(*args)
            self.assertEqual(code, 0)
            for verb in ("setup", "build", "run", "demo", "test", "check", "bench", "fmt", "clean"):
                self.assertIn(f"./dev {verb}", output)

    def test_unknown_words_say_what_to_do(self):
        for args, hint in ((("tset",), "'./dev help' lists them"), (("build", "fast"), "choose release, debug"),
                           (("test", "--all"), "a regular expression"), (("bench", "nothing"), "there is:")):
            code, output = dev(*args)
            self.assertEqual(code, 1, output)
            self.assertIn(hint, output)

    def test_the_demo_explains_itself_before_anything_is_made(self):
        code, output = dev("demo", "--help")
        self.assertEqual(code, 0, output)
        for word in ("--seed-curl", "--plots", "--keep"):
            self.assertIn(word, output)

    def test_benchmarks_of_python_are_listed_beside_the_drivers(self):
        code, output = dev("bench")
        self.assertEqual(code, 0, output)
        for name in ("layout", "pieces", "python", "sglang", "vllm"):
            self.assertIn(f"  {name}\n", output)

    def test_ci_ends_within_an_hour(self):
        with open(os.path.join(ROOT, ".ci", "budget.txt"), encoding="utf-8") as table:
            minutes = [float(line.split()[1]) for line in table if line.strip() and not line.startswith("#")]
        self.assertGreater(len(minutes), 5)
        self.assertLessEqual(sum(minutes), 60)


if __name__ == "__main__":
    unittest.main()
