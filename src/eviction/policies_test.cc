#include "eviction/policies.h"

#include <gmock/gmock.h>

#include "testing/faulty_policy.h"
#include "testing/policy_contract.h"

namespace reprise::testing {

INSTANTIATE_TEST_SUITE_P(Builtin, PolicyContract,
                         ::testing::Values(PolicyUnderTest{"lru", eviction::make_lru},
                                           PolicyUnderTest{"fifo", eviction::make_fifo},
                                           PolicyUnderTest{"s3fifo", eviction::make_s3fifo},
                                           PolicyUnderTest{"adaptive", eviction::make_adaptive}),
                         [](const auto& tried) { return tried.param.name; });

namespace {

using ::testing::ElementsAre;

struct Yes final : VictimFilter {
  bool accept(BlockSlot /*slot*/) override { return true; }
};

std::vector<NewBlock> blocks_of(std::initializer_list<BlockSlot> slots) {
  std::vector<NewBlock> blocks;
  for (const BlockSlot slot : slots) blocks.push_back({slot, slot * 0x9E3779B97F4A7C15ULL, 4096});
  return blocks;
}

std::vector<BlockSlot> drained(EvictionPolicy& policy) {
  Yes yes;
  std::vector<BlockSlot> victims;
  while (const auto slot = policy.victim(yes)) victims.push_back(*slot);
  return victims;
}

std::unique_ptr<EvictionPolicy> with_two_chains(PolicyRegistry::Factory factory, std::vector<BlockSlot>& hot) {
  auto policy = factory({.slots = 16, .capacity_blocks = 16});
  policy->insert({}, blocks_of({0, 1}), hot);
  policy->insert({}, blocks_of({4, 5}), hot);
  return policy;
}

// The suite must notice what it claims to check.
TEST(PolicyContractSuite, NoticesEveryFault) {
  const auto run = [](PolicyFault fault) {
    PolicyDriver driver(
        [fault](const PolicyConfig& config) {
          return std::make_unique<FaultyPolicy>(eviction::make_lru(config), fault);
        },
        1);
    for (int i = 0; i < 3'000 && driver.violation().empty(); ++i) driver.step();
    driver.drain();
    return driver.violation();
  };
  EXPECT_EQ(run(PolicyFault::kNone), "");
  for (const PolicyFault fault : {PolicyFault::kNoVictim, PolicyFault::kVictimTwice, PolicyFault::kIgnoresFilter,
                                  PolicyFault::kForgetsAside, PolicyFault::kHotTwice}) {
    EXPECT_NE(run(fault), "") << "fault " << static_cast<int>(fault);
  }
}

TEST(Lru, TouchMovesTheChainInFrontRootLast) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_lru, hot);
  EXPECT_TRUE(hot.empty());
  policy->touch(std::vector<BlockSlot>{0, 1}, hot);
  EXPECT_THAT(hot, ::testing::UnorderedElementsAre(0, 1));
  policy->touch(std::vector<BlockSlot>{0, 1}, hot);
  EXPECT_EQ(hot.size(), 2U) << "hot once only";
  EXPECT_THAT(drained(*policy), ElementsAre(5, 4, 1, 0));
}

TEST(Lru, TouchThenInsertEqualsOneTouchOfAll) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_lru, hot);
  policy->touch(std::vector<BlockSlot>{0, 1}, hot);
  policy->insert(std::vector<BlockSlot>{0, 1}, blocks_of({2, 3}), hot);
  EXPECT_THAT(drained(*policy), ElementsAre(5, 4, 3, 2, 1, 0));
}

TEST(Lru, ARestoredBlockGoesBackToItsPlace) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_lru, hot);
  struct RefuseChain final : VictimFilter {
    bool accept(BlockSlot slot) override { return slot > 1; }
  } refuse;
  policy->insert({}, blocks_of({8}), hot);
  EXPECT_EQ(policy->victim(refuse), 5U);  // Sets 1 and 0 aside.
  policy->touch(std::vector<BlockSlot>{0}, hot);
  policy->insert({}, blocks_of({9}), hot);
  policy->restore(0);
  policy->restore(1);
  EXPECT_THAT(drained(*policy), ElementsAre(1, 4, 8, 0, 9));
}

TEST(Fifo, IgnoresUseButReportsIt) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_fifo, hot);
  policy->touch(std::vector<BlockSlot>{0, 1}, hot);
  EXPECT_EQ(hot.size(), 2U);
  EXPECT_TRUE(policy->is_hot(0));
  EXPECT_FALSE(policy->is_hot(4));
  EXPECT_THAT(drained(*policy), ElementsAre(1, 0, 5, 4));
}

TEST(S3Fifo, TwoUsesEarnTheMainQueueOneDoesNot) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_s3fifo, hot);
  policy->touch(std::vector<BlockSlot>{0, 1}, hot);
  EXPECT_TRUE(hot.empty());
  policy->touch(std::vector<BlockSlot>{0}, hot);
  EXPECT_THAT(hot, ElementsAre(0));
  EXPECT_THAT(drained(*policy), ElementsAre(1, 5, 4, 0));
}

TEST(S3Fifo, AGhostComesBackHot) {
  std::vector<BlockSlot> hot;
  const auto policy = with_two_chains(eviction::make_s3fifo, hot);
  Yes yes;
  ASSERT_EQ(policy->victim(yes), 1U);
  policy->insert(std::vector<BlockSlot>{0}, blocks_of({1}), hot);
  EXPECT_THAT(hot, ElementsAre(1));
  EXPECT_THAT(drained(*policy), ElementsAre(0, 5, 4, 1));
}

}  // namespace
}  // namespace reprise::testing
