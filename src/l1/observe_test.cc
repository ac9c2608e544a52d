// What the cache says about its blocks: where they are, and why they left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "l1/test_util.h"
#include "testing/manual_clock.h"

namespace reprise {
namespace {

using namespace std::chrono_literals;
using l1_test::key_of;
using l1_test::keys_from;
using l1_test::TestCache;
using testing::ManualClock;
using Look = MemoryCache::Look;

constexpr std::uint64_t kBlock = 4096;

class ObserveTest : public ::testing::Test {
 protected:
  std::uint64_t left(DepartureWhy why) const { return cache_->departures()[static_cast<std::size_t>(why)]; }

  const Namespace ns_ = l1_test::make_namespace(kBlock);
  ManualClock clock_;
  TestCache cache_{MemoryCacheOptions{.capacity = 4 * kBlock, .observe = &clock_}};
};

TEST_F(ObserveTest, AgeAndHitsOfABlock) {
  const auto keys = keys_from(0, 2);
  l1_test::put(*cache_, ns_, keys);
  clock_.advance(30s);
  {
    const Pins pins = l1_test::pin(cache_.cache, ns_, keys);
    static_cast<void>(cache_->touch(pins.blocks()));
    static_cast<void>(cache_->touch(pins.blocks().first(1)));
    const Look look = cache_->look(ns_.id(), keys[0]);
    EXPECT_EQ(look.where, Look::Where::kResident);
    EXPECT_EQ(look.bytes, kBlock);
    EXPECT_EQ(look.readers, 1);
    EXPECT_EQ(look.hits, 2);
    EXPECT_EQ(look.age, 30s);
    EXPECT_FALSE(look.left);
  }
  EXPECT_EQ(cache_->look(ns_.id(), keys[1]).hits, 1);
  EXPECT_EQ(cache_->look(ns_.id(), keys[1]).readers, 0);
  EXPECT_EQ(cache_->look(ns_.id(), key_of(99)).where, Look::Where::kNowhere);
}

TEST_F(ObserveTest, EvictedBlockSaysSoAndStartsAnewWhenItReturns) {
  l1_test::put(*cache_, ns_, keys_from(0, 1));
  const Pins pins = l1_test::pin(cache_.cache, ns_, keys_from(0, 1));
  static_cast<void>(cache_->touch(pins.blocks()));
  const_cast<Pins&>(pins).release();
  for (int i = 1; i <= 4; ++i) l1_test::put_one(*cache_, ns_, key_of(static_cast<std::uint64_t>(i)));
  clock_.advance(5s);
  const Look gone = cache_->look(ns_.id(), key_of(0));
  EXPECT_EQ(gone.where, Look::Where::kNowhere);
  ASSERT_TRUE(gone.left);
  EXPECT_EQ(gone.left->why, DepartureWhy::kEvicted);
  EXPECT_EQ(gone.left->ago, 5s);
  EXPECT_EQ(left(DepartureWhy::kEvicted), 1);
  l1_test::put_one(*cache_, ns_, key_of(0));
  const Look back = cache_->look(ns_.id(), key_of(0));
  EXPECT_EQ(back.where, Look::Where::kResident);
  EXPECT_EQ(back.hits, 0);
  EXPECT_EQ(back.age, 0s);
  EXPECT_TRUE(back.left) << "that it left once is still known";
}

TEST_F(ObserveTest, ErasedPurgedFullAndAbandonedAreToldApart) {
  const auto keys = keys_from(0, 4);
  l1_test::put(*cache_, ns_, keys);
  cache_->erase(ns_.id(), std::span(keys).last(1));
  EXPECT_EQ(cache_->look(ns_.id(), keys[3]).left->why, DepartureWhy::kErased);
  cache_->erase(ns_.id(), std::span(keys).subspan(2, 1), DepartureWhy::kPurged);
  EXPECT_EQ(cache_->look(ns_.id(), keys[2]).left->why, DepartureWhy::kPurged);
  const BlockKey abandoned = key_of(50);
  {
    const Admission admission = cache_->admit(ns_, std::span(&abandoned, 1), 0, 1, true);
    EXPECT_EQ(cache_->look(ns_.id(), abandoned).where, Look::Where::kFilling);
  }
  static_cast<void>(cache_.checked());  // applies what is left over
  EXPECT_EQ(cache_->look(ns_.id(), abandoned).left->why, DepartureWhy::kAbandoned);
  l1_test::put(*cache_, ns_, keys_from(10, 2));
  const Pins a = l1_test::pin(cache_.cache, ns_, std::span(keys).first(2));
  const Pins b = l1_test::pin(cache_.cache, ns_, keys_from(10, 2));
  EXPECT_EQ(l1_test::put_one(*cache_, ns_, key_of(60)), Fate::kFull);
  EXPECT_EQ(cache_->look(ns_.id(), key_of(60)).left->why, DepartureWhy::kFull);
  EXPECT_EQ(left(DepartureWhy::kEvicted), 0);
}

TEST_F(ObserveTest, MemoryForObservingIsCounted) {
  TestCache plain{MemoryCacheOptions{.capacity = 4 * kBlock}};
  CacheStats with;
  CacheStats without;
  for (TestCache* cache : {&cache_, &plain}) l1_test::put(**cache, ns_, keys_from(0, 3));
  cache_->add_stats(with);
  plain->add_stats(without);
  EXPECT_EQ(with.metadata_bytes, without.metadata_bytes + 3 * 8);
  EXPECT_EQ(with.fixed_bytes, without.fixed_bytes + Departures::bytes());
  EXPECT_EQ(plain->departures(), DepartureCounts{});
}

TEST_F(ObserveTest, ScanFindsEveryBlockOnce) {
  TestCache large{MemoryCacheOptions{.capacity = 10'000 * 256}};
  const Namespace small = l1_test::make_namespace(256);
  l1_test::put(*large, small, keys_from(0, 9'000));
  std::vector<MemoryCache::Scanned> found;
  std::set<BlockKey> keys;
  for (BlockSlot at = 0; at != kNoSlot;) {
    at = large->scan(at, found);
    for (const auto& block : found) {
      EXPECT_TRUE(block.visible);
      EXPECT_TRUE(keys.insert(block.id.key).second);
    }
  }
  EXPECT_EQ(keys.size(), 9'000);
}

}  // namespace
}  // namespace reprise
