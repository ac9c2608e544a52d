"""scripts/check_sizes: what is too long is found, and what only looks like a function is not."""
import unittest

from tree import TreeTest


def lines(count, text="  ++x;\n"):
    return text * count


class CheckSizes(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("scripts/oversize.txt", "# none\n")

    def test_within_the_limits(self):
        self.write("src/a.cc", "namespace a {\nint f() {\n" + lines(98) + "}\n}\n")
        self.assert_passes("check_sizes")

    def test_long_file(self):
        self.write("src/a.cc", "int x;\n" * 801)
        self.assert_fails("check_sizes", "src/a.cc: 801 lines")

    def test_long_function(self):
        self.write("src/a.cc", "namespace a {\nvoid A::grow(int x) const {\n" + lines(99) + "}\n}\n")
        self.assert_fails("check_sizes", "src/a.cc:2: A::grow has 101 lines")

    def test_long_method_in_a_class_and_long_test(self):
        self.write("src/a.h", "class A final : public B {\n void f() {\n" + lines(100) + " }\n};\n")
        self.write("src/a_test.cc", "TEST(A, Grows) {\n" + lines(100) + "}\n")
        self.assert_fails("check_sizes", "f has 102 lines", "TEST has 102 lines")

    def test_nested_blocks_and_lambdas_belong_to_their_function(self):
        body = "  if (x) {\n" + lines(60) + "  }\n  g([&] {\n" + lines(60) + "  });\n"
        self.write("src/a.cc", "void f(int x) {\n" + body + "}\n")
        self.assert_fails("check_sizes", "src/a.cc:1: f has 126 lines")

    def test_braces_in_comments_and_literals_do_not_count(self):
        odd = "  s = \"}\"; c = '}'; n = 1'000; /* } */ // }\n  r = R\"x(})\" )x\";\n"
        self.write("src/a.cc", "void f() {\n" + odd + lines(98) + "}\n")
        self.assert_fails("check_sizes", "f has 102 lines")

    def test_classes_namespaces_and_tables_are_not_functions(self):
        self.write("src/a.cc", "class alignas(64) A {\n" + "  int x;\n" * 120 + "};\n"
                   "const int kTable[] = {\n" + "  1,\n" * 120 + "};\n")
        self.assert_passes("check_sizes")

    def test_python_and_bash(self):
        self.write("scripts/a.py", "def f():\n" + "    x = 1\n" * 100)
        self.write("dev", "#!/usr/bin/env bash\nrun() {\n" + "  true\n" * 100 + "}\n")
        self.assert_fails("check_sizes", "f has 101 lines", "run has 102 lines")

    def test_exceptions_need_a_reason_and_go_stale(self):
        self.write("src/a.cc", "int x;\n" * 801)
        self.write("scripts/oversize.txt", "src/a.cc a table, nothing to split\n")
        self.assert_passes("check_sizes")
        self.write("scripts/oversize.txt", "src/a.cc\n")
        self.assert_fails("check_sizes", "has no reason")
        self.write("src/a.cc", "int x;\n")
        self.write("scripts/oversize.txt", "src/a.cc a table\n")
        self.assert_fails("check_sizes", "is not over the limit any more")


if __name__ == "__main__":
    unittest.main()
