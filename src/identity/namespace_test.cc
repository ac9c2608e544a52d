#include "reprise/namespace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "identity/namespace_bytes.h"

namespace reprise {
namespace {

using ::testing::HasSubstr;

NamespaceSpec valid() {
  return {.model = "model",
          .revision = "none",
          .dtype = "bfloat16",
          .layout = "canonical",
          .block_tokens = 16,
          .block_bytes = 65536,
          .layers = IndexRange{0, 32},
          .heads = IndexRange{0, 8},
          .salt = "",
          .extras = {{"engine", "x"}}};
}

NamespaceId id_of(const NamespaceSpec& spec) {
  const auto made = Namespace::create(spec);
  EXPECT_TRUE(made) << made.error().message;
  return made->id();
}

struct Change {
  const char* name;  // what the error must say
  std::function<void(NamespaceSpec&)> apply;
};

TEST(Namespace, EveryMissingOrImpossibleFieldIsNamed) {
  const Change changes[] = {
      {"model is missing", [](auto& s) { s.model = ""; }},
      {"model has 4097 bytes", [](auto& s) { s.model.assign(4097, 'm'); }},
      {"revision is missing", [](auto& s) { s.revision = ""; }},
      {"revision has 257 bytes", [](auto& s) { s.revision.assign(257, 'r'); }},
      {"dtype is missing", [](auto& s) { s.dtype = ""; }},
      {"layout is missing", [](auto& s) { s.layout = ""; }},
      {"block_tokens is missing", [](auto& s) { s.block_tokens = 0; }},
      {"block_tokens is 1048577", [](auto& s) { s.block_tokens = (1U << 20) + 1; }},
      {"block_bytes is missing", [](auto& s) { s.block_bytes = 0; }},
      {"block_bytes is 1073741825", [](auto& s) { s.block_bytes = (1ULL << 30) + 1; }},
      {"layers is missing", [](auto& s) { s.layers.reset(); }},
      {"layers is an empty range", [](auto& s) { s.layers = IndexRange{3, 0}; }},
      {"layers ends beyond", [](auto& s) { s.layers = IndexRange{2, 0xFFFFFFFE}; }},
      {"heads is missing", [](auto& s) { s.heads.reset(); }},
      {"salt is missing", [](auto& s) { s.salt.reset(); }},
      {"salt has 257 bytes", [](auto& s) { s.salt = std::string(257, 's'); }},
      {"extra 'engine' is given twice", [](auto& s) { s.extras.emplace_back("engine", "y"); }},
      {"extras hold one without a key", [](auto& s) { s.extras.emplace_back("", "y"); }},
      {"extra 'k' has 4097 bytes", [](auto& s) { s.extras.emplace_back("k", std::string(4097, 'v')); }},
      {"key of an extra has 257 bytes", [](auto& s) { s.extras.emplace_back(std::string(257, 'k'), ""); }},
      {"extras are 65",
       [](auto& s) {
         for (int i = 0; i < 64; ++i) s.extras.emplace_back(std::to_string(i), "");
       }},
  };
  ASSERT_TRUE(Namespace::create(valid()));
  for (const Change& change : changes) {
    NamespaceSpec spec = valid();
    change.apply(spec);
    const auto made = Namespace::create(spec);
    ASSERT_FALSE(made) << change.name;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(made.error().message, HasSubstr(change.name));
  }
}

TEST(Namespace, EveryFieldCounts) {
  const Change changes[] = {
      {"nothing", [](auto&) {}},
      {"model", [](auto& s) { s.model = "model2"; }},
      {"revision", [](auto& s) { s.revision = "1"; }},
      {"dtype", [](auto& s) { s.dtype = "float16"; }},
      {"layout", [](auto& s) { s.layout = "flash"; }},
      {"block_tokens", [](auto& s) { s.block_tokens = 32; }},
      {"block_bytes", [](auto& s) { s.block_bytes = 65537; }},
      {"layers.first", [](auto& s) { s.layers->first = 1; }},
      {"layers.count", [](auto& s) { s.layers->count = 31; }},
      {"heads.first", [](auto& s) { s.heads->first = 1; }},
      {"heads.count", [](auto& s) { s.heads->count = 7; }},
      {"salt", [](auto& s) { s.salt = "tenant"; }},
      {"extra's value", [](auto& s) { s.extras[0].second = "y"; }},
      {"extra's key", [](auto& s) { s.extras[0].first = "f"; }},
      {"one more extra", [](auto& s) { s.extras.emplace_back("lora", ""); }},
      {"no extras", [](auto& s) { s.extras.clear(); }},
      // Bytes that move from one field to the next.
      {"shifted border 1", [](auto& s) { s.model = "modeln", s.revision = "one"; }},
      {"shifted border 2", [](auto& s) { s.extras[0] = {"enginex", ""}; }},
      {"swapped", [](auto& s) { std::swap(s.dtype, s.layout); }},
  };
  std::set<NamespaceId> ids;
  for (const Change& change : changes) {
    NamespaceSpec spec = valid();
    change.apply(spec);
    EXPECT_TRUE(ids.insert(id_of(spec)).second) << change.name << " does not change the id";
  }
}

TEST(Namespace, TheOrderOfExtrasDoesNotCount) {
  NamespaceSpec a = valid();
  NamespaceSpec b = valid();
  a.extras = {{"a", "1"}, {"b", "2"}, {"\xFF", "3"}};
  b.extras = {{"\xFF", "3"}, {"b", "2"}, {"a", "1"}};
  EXPECT_EQ(id_of(a), id_of(b));
  EXPECT_EQ(Namespace::create(b)->spec().extras, a.extras);
}

TEST(Namespace, LimitsThemselvesAreAllowed) {
  NamespaceSpec spec = valid();
  spec.model.assign(4096, 'm');
  spec.block_tokens = 1U << 20;
  spec.block_bytes = 1ULL << 30;
  spec.layers = IndexRange{1, 0xFFFFFFFE};
  spec.salt = std::string("\0binary", 7);
  EXPECT_TRUE(Namespace::create(spec));
}

}  // namespace
}  // namespace reprise
