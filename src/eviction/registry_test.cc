#include <gmock/gmock.h>

#include "reprise/eviction.h"

namespace reprise {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PolicyRegistry, MakesTheBuiltins) {
  const PolicyRegistry registry = PolicyRegistry::with_builtins();
  EXPECT_THAT(registry.names(), ElementsAre("adaptive", "fifo", "lru", "s3fifo"));
  for (const std::string& name : registry.names()) {
    const auto policy = registry.make(name, {.slots = 8, .capacity_blocks = 8});
    ASSERT_TRUE(policy.has_value()) << name;
    EXPECT_NE(*policy, nullptr);
  }
}

TEST(PolicyRegistry, AnUnknownNameListsTheKnown) {
  const auto policy = PolicyRegistry::with_builtins().make("lfu", {});
  ASSERT_FALSE(policy.has_value());
  EXPECT_EQ(policy.error().code, ErrorCode::kConfig);
  EXPECT_THAT(policy.error().message, HasSubstr("'lfu'"));
  EXPECT_THAT(policy.error().message, HasSubstr("adaptive fifo lru s3fifo"));
}

TEST(PolicyRegistry, TakesNewNamesOnceAndIsAValue) {
  PolicyRegistry registry = PolicyRegistry::with_builtins();
  const PolicyRegistry copy = registry;
  const auto lru = [](const PolicyConfig& config) {
    return std::move(*PolicyRegistry::with_builtins().make("lru", config));
  };
  EXPECT_TRUE(registry.add("mine", lru).has_value());
  EXPECT_TRUE(registry.make("mine", {.slots = 8}).has_value());
  EXPECT_EQ(registry.add("mine", lru).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(registry.add("lru", lru).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(registry.add("", lru).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(registry.add("none", nullptr).error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(copy.make("mine", {}).has_value());
}

TEST(PolicyRegistry, AFactoryThatRefusesIsAnError) {
  PolicyRegistry registry;
  ASSERT_TRUE(registry.add("no", [](const PolicyConfig&) { return nullptr; }).has_value());
  EXPECT_EQ(registry.make("no", {}).error().code, ErrorCode::kConfig);
}

}  // namespace
}  // namespace reprise
