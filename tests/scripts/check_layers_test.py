"""scripts/check_layers on small houses, sound and broken."""
import unittest

from tree import TreeTest

FLOORS = """
base     0
memory   1
eviction 1
l1       2
store/*  4    store bench
store    4.5
engine   5
bench    7
"""


class CheckLayers(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("scripts/floors.txt", FLOORS)
        self.write("include/reprise/block.h", "#include <span>\n")
        self.room("base", "log.h", "")
        self.room("memory", "arena.h", '#include "base/log.h"\n#include "reprise/block.h"\n', "base")
        self.room("eviction", "lru.h", "")
        self.room("l1", "l1.h", '#include "memory/arena.h"\n#include "l1/l1.h"\n', "memory")

    def room(self, name, header, text, deps=""):
        self.write(f"src/{name}/{header}", text)
        self.write(f"src/{name}/CMakeLists.txt", f"reprise_room({name} SOURCES x.cc DEPS {deps} TESTS x_test.cc)\n")

    def test_sound_house(self):
        self.assert_passes("check_layers")

    def test_upward(self):
        self.write("src/memory/slabs.cc", '#include "l1/l1.h"\n')
        self.assert_fails("check_layers", 'src/memory/slabs.cc:1: "l1/l1.h" goes up')

    def test_sideways(self):
        self.write("src/memory/slabs.cc", '#  include "eviction/lru.h"\n')
        self.assert_fails("check_layers", "goes sideways")

    def test_a_test_may_look_anywhere(self):
        self.write("src/memory/slabs_test.cc", '#include "l1/l1.h"\n#include "testing/clock.h"\n')
        self.write("testing/clock.h")
        self.assert_passes("check_layers")

    def test_dependency_must_be_declared(self):
        self.write("src/l1/index.cc", '#include "base/log.h"\n')
        self.assert_fails("check_layers", "l1 includes base (src/l1/index.cc:1) but does not list it")

    def test_declared_dependency_must_be_lower(self):
        self.room("memory", "arena.h", "", "l1")
        self.assert_fails("check_layers", "DEPS of memory (floor 1) names l1 (floor 2)")

    def test_declared_dependency_in_a_comment_does_not_count(self):
        self.write("src/l1/CMakeLists.txt", "reprise_room(l1 SOURCES l1.cc  # DEPS memory\n)\n")
        self.assert_fails("check_layers", "does not list it in DEPS")

    def test_shipped_code_does_not_include_testing(self):
        self.write("testing/clock.h")
        self.write("src/l1/l1.cc", '#include "testing/clock.h"\n')
        self.assert_fails("check_layers", "nothing shipped includes testing/")

    def test_backends_do_not_know_each_other(self):
        self.room("store/disk", "disk.h", "")
        self.room("store/mock", "mock.h", '#include "store/disk/disk.h"\n')
        self.assert_fails("check_layers", "goes sideways: store/mock")

    def test_only_the_registry_knows_backends(self):
        self.room("store/disk", "disk.h", "")
        self.room("store", "registry.h", '#include "store/disk/disk.h"\n', "store/disk")
        self.assert_passes("check_layers")
        self.room("engine", "engine.h", '#include "store/disk/disk.h"\n', "store/disk")
        self.assert_fails("check_layers", "store/disk is seen only by store")

    def test_public_headers_use_the_standard_library_only(self):
        self.write("include/reprise/block.h", '#include <spdlog/spdlog.h>\n')
        self.assert_fails("check_layers", "not <spdlog/spdlog.h>")
        self.write("include/reprise/block.h", '#include "base/log.h"\n')
        self.assert_fails("check_layers", "a public header includes only reprise/")

    def test_examples_use_the_public_headers_only(self):
        self.write("examples/a/main.cc", '#include "reprise/block.h"\n')
        self.assert_passes("check_layers")
        self.write("examples/a/main.cc", '#include "base/log.h"\n')
        self.assert_fails("check_layers", "an example has only what is installed")

    def test_a_generated_header_stands_where_its_schema_does(self):
        self.write("src/l1/words.fbs")
        self.write("src/l1/l1.cc", '#include "l1/words_generated.h"\n')
        self.assert_passes("check_layers")
        self.write("src/memory/slabs.cc", '#include "l1/words_generated.h"\n')
        self.assert_fails("check_layers", "goes up")

    def test_unknown_room_and_unknown_file(self):
        self.write("src/attic/box.h")
        self.write("src/l1/l1.cc", '#include "attic/box.h"\n#include "base/gone.h"\n')
        self.assert_fails("check_layers", "attic has no floor", '"base/gone.h" is neither')


if __name__ == "__main__":
    unittest.main()
