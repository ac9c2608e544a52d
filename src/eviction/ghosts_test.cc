#include "eviction/ghosts.h"

#include <gtest/gtest.h>

#include <random>

namespace reprise::eviction {
namespace {

TEST(GhostTable, RemembersACountOnce) {
  GhostTable ghosts;
  ghosts.reset(100);
  std::mt19937_64 random(1);
  const std::uint64_t hash = random();
  EXPECT_EQ(ghosts.take(hash), 0U);
  ghosts.remember(hash, 3);
  EXPECT_EQ(ghosts.size(), 1U);
  EXPECT_EQ(ghosts.take(hash), 3U);
  EXPECT_EQ(ghosts.take(hash), 0U);
  EXPECT_EQ(ghosts.size(), 0U);
}

TEST(GhostTable, ClampsCountsAndReplacesTheSameBlock) {
  GhostTable ghosts;
  ghosts.reset(100);
  ghosts.remember(0, 0);  // The hash 0 is a block like any other.
  ghosts.remember(0, 1'000);
  EXPECT_EQ(ghosts.size(), 1U);
  EXPECT_EQ(ghosts.take(0), GhostTable::kMaxCount);
}

TEST(GhostTable, TheOldestOfASetFallsOut) {
  GhostTable ghosts;
  ghosts.reset(16);  // One set.
  for (std::uint64_t hash = 1; hash <= 17; ++hash) ghosts.remember(hash, 1);
  EXPECT_EQ(ghosts.size(), 16U);
  EXPECT_EQ(ghosts.take(1), 0U);
  EXPECT_EQ(ghosts.take(2), 1U);
  // The gap is closed: one more does not push anything out.
  ghosts.remember(100, 2);
  EXPECT_EQ(ghosts.take(3), 1U);
  EXPECT_EQ(ghosts.take(100), 2U);
}

TEST(GhostTable, KeepsTheRecentAndHardlyEverMistakesStrangers) {
  GhostTable ghosts;
  ghosts.reset(16'000);
  std::mt19937_64 random(2);
  std::vector<std::uint64_t> hashes(100'000);
  for (std::uint64_t& hash : hashes) ghosts.remember(hash = random(), 1);
  EXPECT_LE(ghosts.size(), ghosts.capacity());
  int strangers = 0;
  for (int i = 0; i < 100'000; ++i) strangers += ghosts.take(random()) != 0 ? 1 : 0;
  EXPECT_LE(strangers, 1);
  int recent = 0;
  for (std::size_t i = hashes.size() - 4'000; i < hashes.size(); ++i) recent += ghosts.take(hashes[i]) != 0 ? 1 : 0;
  EXPECT_GT(recent, 3'990);
}

TEST(GhostTable, WithoutRoomNothingIsRemembered) {
  GhostTable ghosts;
  ghosts.remember(5, 1);
  EXPECT_EQ(ghosts.take(5), 0U);
  ghosts.prefetch(5);
}

}  // namespace
}  // namespace reprise::eviction
