// The contract every EvictionPolicy keeps, as one suite. Include it from one test file of an executable.
//
//   INSTANTIATE_TEST_SUITE_P(Mine, PolicyContract, ::testing::Values(PolicyUnderTest{"mine", factory}));
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "reprise/eviction.h"
#include "testing/policy_driver.h"

namespace reprise::testing {

struct PolicyUnderTest {
  std::string name;
  PolicyDriver::Factory factory;
  friend std::ostream& operator<<(std::ostream& out, const PolicyUnderTest& policy) { return out << policy.name; }
};

class PolicyContract : public ::testing::TestWithParam<PolicyUnderTest> {
 protected:
  struct Yes final : VictimFilter {
    bool accept(BlockSlot /*slot*/) override { return true; }
  };
  std::unique_ptr<EvictionPolicy> make(std::uint32_t slots) {
    return GetParam().factory({.slots = slots, .capacity_blocks = slots, .horizon_blocks = 1'000, .salt = 1});
  }
};

TEST_P(PolicyContract, SurvivesRandomTraffic) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    PolicyDriver driver(GetParam().factory, seed);
    for (int i = 0; i < 3'000 && driver.violation().empty(); ++i) driver.step();
    driver.drain();
    ASSERT_EQ(driver.violation(), "") << "seed " << seed;
    ASSERT_GT(driver.victims().size(), 1'000U);
  }
}

TEST_P(PolicyContract, SameCallsSameAnswers) {
  PolicyDriver one(GetParam().factory, 7);
  PolicyDriver two(GetParam().factory, 7);
  for (int i = 0; i < 2'000; ++i) {
    one.step();
    two.step();
  }
  ASSERT_FALSE(one.victims().empty());
  EXPECT_EQ(one.victims(), two.victims());
}

TEST_P(PolicyContract, AnEmptyPolicyHasNoVictim) {
  const auto policy = make(4);
  Yes yes;
  EXPECT_EQ(policy->victim(yes), std::nullopt);
  policy->remove(0);
  policy->restore(0);
  EXPECT_EQ(policy->victim(yes), std::nullopt);
  EXPECT_FALSE(policy->is_hot(0));
}

TEST_P(PolicyContract, SuffixesGoBeforePrefixes) {
  const auto policy = make(8);
  std::vector<BlockSlot> hot;
  const std::vector<NewBlock> blocks{{3, 103, 4096}, {1, 101, 4096}, {4, 104, 4096}, {2, 102, 4096}};
  policy->insert({}, blocks, hot);
  Yes yes;
  for (const BlockSlot slot : {2U, 4U, 1U, 3U}) EXPECT_EQ(policy->victim(yes), slot);
  EXPECT_EQ(policy->victim(yes), std::nullopt);
}

TEST_P(PolicyContract, ARefusedBlockIsNotOfferedBeforeItIsRestored) {
  const auto policy = make(8);
  std::vector<BlockSlot> hot;
  policy->insert({}, std::vector<NewBlock>{{0, 100, 4096}}, hot);
  struct Refuse final : VictimFilter {
    int asked = 0;
    bool accept(BlockSlot /*slot*/) override { return ++asked < 0; }
  } refuse;
  EXPECT_EQ(policy->victim(refuse), std::nullopt);
  EXPECT_EQ(policy->victim(refuse), std::nullopt);
  EXPECT_EQ(refuse.asked, 1);
  policy->touch(std::vector<BlockSlot>{0}, hot);
  Yes yes;
  EXPECT_EQ(policy->victim(yes), std::nullopt) << "a touch is no restore";
  policy->restore(0);
  EXPECT_EQ(policy->victim(yes), 0U);
}

TEST_P(PolicyContract, GrowsWithoutForgettingResidents) {
  const auto policy = make(2);
  std::vector<BlockSlot> hot;
  policy->insert({}, std::vector<NewBlock>{{0, 100, 4096}, {1, 101, 4096}}, hot);
  const auto before = policy->footprint();
  policy->grow(100'000, 100'000);
  EXPECT_GT(policy->footprint().scaling, before.scaling);
  policy->insert(std::vector<BlockSlot>{0, 1}, std::vector<NewBlock>{{99'999, 102, 4096}}, hot);
  Yes yes;
  std::set<BlockSlot> gone;
  while (const auto slot = policy->victim(yes)) gone.insert(*slot);
  EXPECT_EQ(gone, (std::set<BlockSlot>{0, 1, 99'999}));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PolicyContract);

}  // namespace reprise::testing
