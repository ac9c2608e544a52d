#include "eviction/adaptive.h"

#include <gmock/gmock.h>

#include <memory>
#include <set>

#include "testing/policy_driver.h"

namespace reprise::eviction {
namespace {

using ::testing::ElementsAre;

struct Yes final : VictimFilter {
  bool accept(BlockSlot /*slot*/) override { return true; }
};

class AdaptiveTest : public ::testing::Test {
 protected:
  void insert(std::vector<BlockSlot> parents, std::initializer_list<BlockSlot> slots, std::uint32_t bytes = 4096) {
    std::vector<NewBlock> blocks;
    for (const BlockSlot slot : slots) blocks.push_back({slot, (slot + 1) * 0x9E3779B97F4A7C15ULL, bytes});
    policy_.insert(parents, blocks, hot_);
    EXPECT_EQ(policy_.broken_invariant(), "");
  }
  std::optional<BlockSlot> victim() {
    const auto slot = policy_.victim(yes_);
    EXPECT_EQ(policy_.broken_invariant(), "");
    return slot;
  }
  std::vector<BlockSlot> drained() {
    std::vector<BlockSlot> victims;
    while (const auto slot = victim()) victims.push_back(*slot);
    return victims;
  }

  AdaptivePolicy policy_{{.slots = 64, .capacity_blocks = 64, .horizon_blocks = 1'000, .salt = 1}};
  std::vector<BlockSlot> hot_;
  Yes yes_;
};

TEST_F(AdaptiveTest, KeepsItsInvariantsUnderRandomTraffic) {
  AdaptivePolicy* policy = nullptr;
  testing::PolicyDriver driver(
      [&policy](const PolicyConfig& config) {
        auto made = std::make_unique<AdaptivePolicy>(config);
        policy = made.get();
        return made;
      },
      11);
  for (int i = 0; i < 5'000; ++i) {
    driver.step();
    ASSERT_EQ(policy->broken_invariant(), "") << "step " << i;
    ASSERT_EQ(driver.violation(), "");
  }
  driver.drain();
  EXPECT_EQ(policy->broken_invariant(), "");
  EXPECT_EQ(driver.violation(), "");
}

TEST_F(AdaptiveTest, OnlyLeavesGo) {
  insert({}, {0, 1});
  insert({0}, {2});
  // The root is as old as can be, and stays until both branches went.
  EXPECT_EQ(victim(), 1U);
  EXPECT_EQ(victim(), 2U);
  EXPECT_EQ(victim(), 0U);
}

TEST_F(AdaptiveTest, SeenTwiceIsHotAndGhostsCount) {
  insert({}, {0, 1});
  EXPECT_TRUE(hot_.empty());
  policy_.touch(std::vector<BlockSlot>{0}, hot_);
  EXPECT_THAT(hot_, ElementsAre(0));
  ASSERT_EQ(victim(), 1U);
  hot_.clear();
  insert({0}, {1});
  EXPECT_THAT(hot_, ElementsAre(1)) << "its ghost was seen once before";
  EXPECT_TRUE(policy_.is_hot(1));
  EXPECT_FALSE(policy_.is_hot(2));
}

TEST_F(AdaptiveTest, ARemovedBlockLeavesNoGhostAndItsChildrenBecomeRoots) {
  insert({}, {0, 1, 2});
  policy_.remove(1);
  EXPECT_EQ(policy_.broken_invariant(), "");
  insert({}, {1});  // Another chain takes the slot; block 2 is no child of it.
  EXPECT_TRUE(hot_.empty());
  EXPECT_THAT(drained(), ::testing::UnorderedElementsAre(0, 1, 2));
}

TEST_F(AdaptiveTest, ALeafSetAsideStillHoldsItsParent) {
  insert({}, {0, 1});
  struct Refuse final : VictimFilter {
    bool accept(BlockSlot slot) override { return slot != 1; }
  } refuse;
  EXPECT_EQ(policy_.victim(refuse), std::nullopt);
  EXPECT_EQ(policy_.broken_invariant(), "");
  insert({0, 1}, {2});  // It may get a child meanwhile, and lose it again.
  EXPECT_EQ(policy_.victim(refuse), 2U);
  EXPECT_EQ(policy_.victim(refuse), std::nullopt);
  policy_.restore(1);
  EXPECT_EQ(policy_.broken_invariant(), "");
  EXPECT_THAT(drained(), ElementsAre(1, 0));
}

TEST_F(AdaptiveTest, RestoredLeavesGoBackInOrderOfAge) {
  for (BlockSlot slot = 0; slot < 10; ++slot) insert({}, {slot});
  struct RefuseAll final : VictimFilter {
    bool accept(BlockSlot /*slot*/) override { return false; }
  } refuse;
  EXPECT_EQ(policy_.victim(refuse), std::nullopt);
  for (const BlockSlot slot : {4U, 9U, 0U, 6U, 1U, 8U, 2U, 7U, 3U, 5U}) {
    policy_.restore(slot);
    EXPECT_EQ(policy_.broken_invariant(), "");
  }
}

TEST_F(AdaptiveTest, OfEqualWorthTheLargerGoesFirst) {
  insert({}, {0}, 4096);
  insert({}, {1}, 1 << 20);
  EXPECT_EQ(victim(), 1U) << "the younger, but 256 times the bytes";
  EXPECT_EQ(victim(), 0U);
}

// Generations are 8 bits. A child orphaned 256 times over is taken for a child again, which may let its supposed parent
// go early; what must not happen is that a block never goes, or goes twice.
TEST_F(AdaptiveTest, SurvivesMoreOrphansThanGenerations) {
  const std::vector<NewBlock> pair{{0, 100, 4096}, {2, 102, 4096}};
  insert({}, {0, 1});
  insert({0}, {2});
  for (int i = 0; i < 256; ++i) {
    policy_.remove(0);
    policy_.remove(2);
    policy_.insert({}, pair, hot_);
  }
  std::vector<BlockSlot> gone;
  while (const auto slot = policy_.victim(yes_)) gone.push_back(*slot);
  EXPECT_THAT(gone, ::testing::UnorderedElementsAre(0, 1, 2));
}

TEST_F(AdaptiveTest, MemoryIsBounded) {
  const AdaptivePolicy large({.slots = 1'000'000, .capacity_blocks = 1'000'000});
  EXPECT_LE(large.footprint().scaling, 1'000'000U * 49);
  EXPECT_LE(large.footprint().fixed, 384U << 10);
}

}  // namespace
}  // namespace reprise::eviction
