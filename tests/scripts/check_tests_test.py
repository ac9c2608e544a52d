"""scripts/check_tests: a test that nobody runs is found."""
import unittest

from tree import TreeTest


class CheckTests(TreeTest):
    def test_registered(self):
        self.write("src/l1/l1_test.cc", "TEST(L1, Works) {}\n")
        self.write("src/l1/CMakeLists.txt", "reprise_room(l1 TESTS l1_test.cc)\n")
        self.write("tests/fuzz/disk_fuzz.cc")
        self.write("tests/fuzz/CMakeLists.txt", "foreach(NAME disk_fuzz)\nendforeach()\n")
        self.write("examples/a/main.cc")
        self.write("examples/a/CMakeLists.txt", "add_executable(a main.cc)\n")
        self.write("tests/fuzz/corpus/disk/not_a_test.cc")
        self.assert_passes("check_tests")

    def test_forgotten(self):
        self.write("src/l1/l1_test.cc")
        self.write("src/l1/CMakeLists.txt", "reprise_room(l1 SOURCES l1.cc)\n")
        self.assert_fails("check_tests", "src/l1/l1_test.cc: no CMakeLists.txt registers it")

    def test_commented_out(self):
        self.write("src/l1/l1_test.cc")
        self.write("src/l1/CMakeLists.txt", "reprise_room(l1\n  # TESTS l1_test.cc\n)\n")
        self.assert_fails("check_tests", "registers it, so it never runs")

    def test_programs_of_tests_and_examples(self):
        self.write("tests/crash/victim.cc")
        self.write("tests/e2e/replay_test.py")
        self.write("examples/a/main.cc")
        self.assert_fails("check_tests", "tests/crash/victim.cc", "tests/e2e/replay_test.py", "examples/a/main.cc")

    def test_disabled(self):
        self.write("src/l1/l1_test.cc", "TEST_F(L1, DISABLED_Works) {}\n")
        self.write("src/l1/CMakeLists.txt", "reprise_room(l1 TESTS l1_test.cc)\n")
        self.assert_fails("check_tests", "l1_test.cc:1: a disabled test")


if __name__ == "__main__":
    unittest.main()
