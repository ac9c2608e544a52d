#include "l1/memory_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "l1/test_util.h"

namespace reprise {
namespace {

using l1_test::has;
using l1_test::holds_block;
using l1_test::key_of;
using l1_test::keys_from;
using l1_test::kMiB;
using l1_test::pin;
using l1_test::put;
using l1_test::put_one;
using l1_test::TestCache;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kBlock = 4096;

MemoryCacheOptions room_for(std::uint64_t blocks, std::uint64_t in_transit = 0) {
  return {.capacity = blocks * kBlock, .transit_bytes = in_transit * kBlock};
}

class MemoryCacheTest : public ::testing::Test {
 protected:
  const Namespace ns_ = l1_test::make_namespace(kBlock);

  std::size_t run(MemoryCache& cache, std::span<const BlockKey> keys) const {
    return cache.match_run(ns_.id(), keys).blocks;
  }
};

class EveryPolicy : public MemoryCacheTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Policies, EveryPolicy, ::testing::Values("lru", "fifo", "s3fifo", "adaptive"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(EveryPolicy, HoldsExactlyItsCapacity) {
  TestCache cache(room_for(100), GetParam());
  const auto keys = keys_from(0, 100);
  EXPECT_THAT(put(*cache, ns_, keys), Each(Fate::kAdmitted));
  EXPECT_EQ(run(*cache, keys), 100);
  EXPECT_EQ(cache.checked().visible, 100);
  const Pins pins = pin(cache.cache, ns_, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_TRUE(holds_block(pins[i], ns_.id(), keys[i])) << i;
}

TEST_P(EveryPolicy, StaysWithinItsCapacityUnderManyChains) {
  TestCache cache(room_for(50), GetParam());
  for (std::uint64_t c = 0; c < 60; ++c) {
    const auto keys = keys_from(1000 * c, 1 + c % 20);
    const auto fates = put(*cache, ns_, keys);
    const Pins pins = pin(cache.cache, ns_, keys);
    cache->touch(pins.blocks());
    for (std::size_t i = 0; i < pins.size(); ++i) ASSERT_TRUE(holds_block(pins[i], ns_.id(), keys[i]));
  }
  EXPECT_LE(cache.checked().visible, 50);
  EXPECT_GE(cache.checked().visible, 49);
}

TEST_P(EveryPolicy, ChainLongerThanTheCacheKeepsALeadingRun) {
  TestCache cache(room_for(10), GetParam());
  const auto keys = keys_from(0, 30);
  const auto fates = put(*cache, ns_, keys);
  const auto admitted = std::ranges::count(fates, Fate::kAdmitted);
  EXPECT_EQ(admitted, 10);
  EXPECT_EQ(run(*cache, keys), 10) << "what was kept is the beginning, without holes";
  EXPECT_EQ(fates.back(), Fate::kDeclined);
  EXPECT_EQ(cache.checked().visible, 10);
}

TEST_F(MemoryCacheTest, EvictsTheLeastRecentlyUsedChainDeepestFirst) {
  TestCache cache(room_for(9));
  const auto a = keys_from(100, 3);
  const auto b = keys_from(200, 3);
  const auto c = keys_from(300, 3);
  for (const auto& chain : {a, b, c}) put(*cache, ns_, chain);
  cache->touch(pin(cache.cache, ns_, a).blocks());
  EXPECT_THAT(put(*cache, ns_, keys_from(400, 2)), Each(Fate::kAdmitted));
  EXPECT_EQ(run(*cache, a), 3);
  EXPECT_EQ(run(*cache, b), 1);
  EXPECT_EQ(run(*cache, c), 3);
  put(*cache, ns_, keys_from(500, 2));
  EXPECT_EQ(run(*cache, b), 0);
  EXPECT_EQ(run(*cache, c), 2);
  cache.checked();
}

TEST_F(MemoryCacheTest, MatchNeverTouches) {
  TestCache cache(room_for(2));
  put_one(*cache, ns_, key_of(1));
  put_one(*cache, ns_, key_of(2));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(has(*cache, ns_, key_of(1)));
  EXPECT_THAT(cache.notes->touched, IsEmpty());
  put_one(*cache, ns_, key_of(3));
  EXPECT_FALSE(has(*cache, ns_, key_of(1)));
}

TEST_F(MemoryCacheTest, SaysWhetherMoreIsBehindAHole) {
  TestCache cache(room_for(10));
  const auto keys = keys_from(0, 4);
  put(*cache, ns_, keys);
  EXPECT_EQ(cache->erase(ns_.id(), std::span(keys).subspan(1, 1)), 1);
  const auto found = cache->match_run(ns_.id(), keys);
  EXPECT_EQ(found.blocks, 1);
  EXPECT_TRUE(found.more_behind);
  EXPECT_FALSE(cache->match_run(ns_.id(), std::span(keys).first(2)).more_behind);
  bool present[4];
  cache->match_each(ns_.id(), keys, present);
  EXPECT_THAT(present, ElementsAre(true, false, true, true));
  Pins pins(cache.cache);
  EXPECT_EQ(cache->pin_each(ns_.id(), keys, pins), 3);
  EXPECT_EQ(pins[1].slot, kNoSlot);
  EXPECT_TRUE(holds_block(pins[3], ns_.id(), keys[3]));
  EXPECT_EQ(cache.checked().held, 3);
}

TEST_F(MemoryCacheTest, BlocksBehindAMissingOneAreAHoleUnlessTheChainMayLackIt) {
  TestCache cache(room_for(10));
  const auto keys = keys_from(0, 4);
  EXPECT_THAT(put(*cache, ns_, keys, 2, true), ElementsAre(Fate::kHole, Fate::kHole));
  EXPECT_EQ(cache.checked().visible, 0);
  EXPECT_THAT(put(*cache, ns_, keys, 2, false), ElementsAre(Fate::kAdmitted, Fate::kAdmitted));
  EXPECT_EQ(run(*cache, keys), 0);
  EXPECT_THAT(put(*cache, ns_, keys), ElementsAre(Fate::kAdmitted, Fate::kAdmitted, Fate::kPresent, Fate::kPresent));
  EXPECT_EQ(run(*cache, keys), 4);
}

TEST_F(MemoryCacheTest, NamespacesDoNotSeeEachOther) {
  TestCache cache(room_for(10));
  const Namespace other = l1_test::make_namespace(2 * kBlock);
  put_one(*cache, ns_, key_of(1));
  EXPECT_FALSE(has(*cache, other, key_of(1)));
  EXPECT_EQ(put_one(*cache, other, key_of(1)), Fate::kAdmitted);
  const BlockKey key = key_of(1);
  EXPECT_TRUE(holds_block(pin(cache.cache, ns_, std::span(&key, 1))[0], ns_.id(), key));
  EXPECT_TRUE(holds_block(pin(cache.cache, other, std::span(&key, 1))[0], other.id(), key));
}

TEST_F(MemoryCacheTest, WhatEverybodyHoldsIsNotReplaced) {
  TestCache cache(room_for(3));
  const auto keys = keys_from(0, 3);
  put(*cache, ns_, keys);
  Pins pins = pin(cache.cache, ns_, keys);
  EXPECT_NE(put_one(*cache, ns_, key_of(9)), Fate::kAdmitted);
  EXPECT_EQ(run(*cache, keys), 3);
  pins.release();
  EXPECT_EQ(put_one(*cache, ns_, key_of(9)), Fate::kAdmitted) << "set aside while held, and back in line after";
  EXPECT_EQ(run(*cache, keys), 2);
  cache.checked();
}

TEST_F(MemoryCacheTest, AHeldBlockKeepsItsPlaceInTheOrder) {
  TestCache cache(room_for(3));
  for (std::uint64_t n = 1; n <= 3; ++n) put_one(*cache, ns_, key_of(n));
  const BlockKey oldest = key_of(1);
  {
    const Pins pins = pin(cache.cache, ns_, std::span(&oldest, 1));
    put_one(*cache, ns_, key_of(4));  // 1 is refused, 2 goes
  }
  put_one(*cache, ns_, key_of(5));
  EXPECT_FALSE(has(*cache, ns_, key_of(1)));
  EXPECT_FALSE(has(*cache, ns_, key_of(2)));
  EXPECT_TRUE(has(*cache, ns_, key_of(3)));
}

// ---- Filling. ----

TEST_F(MemoryCacheTest, ABlockIsNotFoundBeforeItIsComplete) {
  TestCache cache(room_for(4));
  const auto keys = keys_from(0, 2);
  Admission admission = cache->admit(ns_, keys, 0, 2, true);
  ASSERT_EQ(admission.filling.size(), 2);
  EXPECT_EQ(run(*cache, keys), 0);
  EXPECT_EQ(cache.checked().filling, 2);
  EXPECT_THAT(cache->admit(ns_, keys, 0, 2, true).fates, ElementsAre(Fate::kPresent, Fate::kPresent));
  EXPECT_EQ(cache->erase(ns_.id(), keys), 0) << "what is being filled is its filler's";
  for (std::size_t i = 0; i < 2; ++i) {
    l1_test::write_block(admission.filling[i], ns_.id(), keys[i]);
    cache->publish(admission.filling[i], 0, false);
  }
  EXPECT_EQ(run(*cache, keys), 2);
}

TEST_F(MemoryCacheTest, GivenUpBeforeItIsCompleteItVanishesAltogether) {
  TestCache cache(room_for(4));
  const auto keys = keys_from(0, 4);
  {
    Admission admission = cache->admit(ns_, keys, 0, 4, true);
    cache->publish(admission.filling[0], 0, false);
    EXPECT_EQ(cache.checked().filling, 3);
  }
  const auto census = cache.checked();  // entries, memory, policy and counters agree
  EXPECT_EQ(census.visible, 1);
  EXPECT_EQ(census.filling, 0);
  EXPECT_EQ(census.transit, 0);
  EXPECT_THAT(put(*cache, ns_, keys), ElementsAre(Fate::kPresent, Fate::kAdmitted, Fate::kAdmitted, Fate::kAdmitted));
  EXPECT_EQ(run(*cache, keys), 4);
}

TEST_F(MemoryCacheTest, BlocksBeingFilledAreNotEvicted) {
  TestCache cache(room_for(2));
  const auto keys = keys_from(0, 2);
  Admission admission = cache->admit(ns_, keys, 0, 2, true);
  EXPECT_NE(put_one(*cache, ns_, key_of(9)), Fate::kAdmitted);
  for (std::size_t i = 0; i < 2; ++i) cache->publish(admission.filling[i], 0, false);
  EXPECT_EQ(run(*cache, keys), 2);
  admission.filling.release();
  EXPECT_EQ(put_one(*cache, ns_, key_of(9)), Fate::kAdmitted);
}

TEST_F(MemoryCacheTest, OfTwoThatOfferTheSameBlockOneFillsIt) {
  constexpr std::uint64_t kRounds = 200;
  TestCache cache(room_for(kRounds * 4));
  std::atomic<std::uint64_t> admitted{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t round = 0; round < kRounds; ++round) {
        const auto fates = put(*cache, ns_, keys_from(4 * round, 4));
        admitted += static_cast<std::uint64_t>(std::ranges::count(fates, Fate::kAdmitted));
      }
    });
  }
  threads.clear();
  EXPECT_EQ(admitted.load(), kRounds * 4);
  EXPECT_EQ(cache.checked().visible, kRounds * 4);
}

TEST_F(MemoryCacheTest, AChainThatNamesABlockTwiceStoresItOnce) {
  TestCache cache(room_for(4));
  const std::vector<BlockKey> keys{key_of(1), key_of(2), key_of(1)};
  EXPECT_THAT(put(*cache, ns_, keys), ElementsAre(Fate::kAdmitted, Fate::kAdmitted, Fate::kPresent));
  EXPECT_EQ(run(*cache, keys), 3);
  EXPECT_EQ(cache.checked().visible, 2);
  EXPECT_EQ(cache->erase(ns_.id(), keys), 2);
  EXPECT_EQ(run(*cache, keys), 0);
}

// A chain is admitted in batches, and the mutex is free between them: what earlier batches found must stay.
TEST_F(MemoryCacheTest, ParentsStayFromBatchToBatch) {
  constexpr std::uint64_t kChain = 3000;
  TestCache cache(room_for(kChain + 50));
  const auto keys = keys_from(0, kChain);
  put(*cache, ns_, std::span(keys).first(500));
  put(*cache, ns_, keys_from(90'000, 100));
  const Pins pins = pin(cache.cache, ns_, std::span(keys).first(1));
  cache.notes->script = {pins[0].slot + 1, pins[0].slot + 2};  // the policy would rather let go of the second block
  EXPECT_THAT(put(*cache, ns_, keys), ::testing::Contains(Fate::kPresent).Times(500));
  EXPECT_EQ(run(*cache, keys), kChain);
  cache.checked();
}

// ---- Erasing. ----

TEST_F(MemoryCacheTest, ErasedWhileHeldItVanishesForOthersAndStaysForTheHolder) {
  TestCache cache(room_for(2));
  const auto keys = keys_from(0, 2);
  put(*cache, ns_, keys);
  Pins pins = pin(cache.cache, ns_, keys);
  EXPECT_EQ(cache->erase(ns_.id(), keys), 2);
  EXPECT_EQ(run(*cache, keys), 0);
  EXPECT_EQ(cache.checked().transit, 2);
  EXPECT_THAT(put(*cache, ns_, keys), Each(Fate::kAdmitted)) << "the same keys, elsewhere";
  put(*cache, ns_, keys_from(10, 2));
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(holds_block(pins[i], ns_.id(), keys[i]));
  cache->touch(pins.blocks());  // not the policy's any more
  pins.release();
  EXPECT_EQ(cache.checked().transit, 0);
}

TEST_F(MemoryCacheTest, ErasesLongChains) {
  TestCache cache(room_for(3000));
  const auto keys = keys_from(0, 3000);
  put(*cache, ns_, keys);
  EXPECT_EQ(cache->erase(ns_.id(), keys), 3000);
  EXPECT_EQ(cache->erase(ns_.id(), keys), 0);
  EXPECT_EQ(cache.checked().visible, 0);
}

// ---- Touches behind the mutex. ----

TEST_F(MemoryCacheTest, ATouchThatHasToWaitIsAppliedBeforeTheNextEviction) {
  TestCache cache(room_for(3));
  for (std::uint64_t n = 1; n <= 3; ++n) put_one(*cache, ns_, key_of(n));
  cache.notes->after_accept = [&](BlockSlot) {  // 1 goes; 2 is touched by a thread that cannot have the mutex
    std::jthread([&] {
      const BlockKey key = key_of(2);
      cache->touch(pin(cache.cache, ns_, std::span(&key, 1)).blocks());
    }).join();
  };
  put_one(*cache, ns_, key_of(4));
  cache.notes->after_accept = nullptr;
  EXPECT_THAT(cache.notes->touched, IsEmpty());
  put_one(*cache, ns_, key_of(5));
  EXPECT_EQ(cache.notes->touched.size(), 1);
  EXPECT_TRUE(has(*cache, ns_, key_of(2)));
  EXPECT_FALSE(has(*cache, ns_, key_of(3)));
}

TEST_F(MemoryCacheTest, AWaitingTouchOfABlockThatWentDoesNotReachItsSuccessor) {
  TestCache cache(room_for(3));
  for (std::uint64_t n = 1; n <= 3; ++n) put_one(*cache, ns_, key_of(n));
  const BlockKey key = key_of(3);
  const BlockSlot slot = pin(cache.cache, ns_, std::span(&key, 1))[0].slot;
  bool done = false;
  cache.notes->after_accept = [&](BlockSlot) {  // 3 is touched, then it goes too
    if (std::exchange(done, true)) return;
    std::jthread([&] { cache->touch(pin(cache.cache, ns_, std::span(&key, 1)).blocks()); }).join();
    cache.notes->script = {slot};
  };
  put(*cache, ns_, keys_from(10, 2));
  cache.notes->after_accept = nullptr;
  EXPECT_FALSE(has(*cache, ns_, key));
  ASSERT_EQ(put_one(*cache, ns_, key_of(20)), Fate::kAdmitted);
  EXPECT_THAT(cache.notes->touched, IsEmpty());
  cache.checked();
}

// ---- Tables and memory. ----

TEST_F(MemoryCacheTest, TablesAreLaidOutOnceForBlocksOfOneSize) {
  TestCache cache(room_for(3000, 3000));
  const int before = cache.notes->grown;
  Pins pins(cache.cache);
  for (std::uint64_t n = 0; n < 3000; ++n) {
    put_one(*cache, ns_, key_of(n));
    const auto block = cache->allocate_transit({ns_.id(), key_of(100'000 + n)}, kBlock);
    ASSERT_TRUE(block);
    pins.adopt(*block);
  }
  EXPECT_EQ(cache.notes->grown - before, 1);
  EXPECT_EQ(cache.checked().transit, 3000);
}

TEST_F(MemoryCacheTest, SmallerBlocksMakeTheTablesDouble) {
  TestCache cache(MemoryCacheOptions{.capacity = 4 * kMiB, .transit_bytes = 0});
  put_one(*cache, l1_test::make_namespace(2 * kMiB), key_of(1));
  const int before = cache.notes->grown;
  const Namespace small = l1_test::make_namespace(512);
  const auto keys = keys_from(1000, 4096);
  for (std::size_t to = 16; to <= keys.size(); to += 16) put(*cache, small, std::span(keys).first(to), to - 16);
  EXPECT_LE(cache.notes->grown - before, 3);
  EXPECT_EQ(cache->match_run(small.id(), keys).blocks, 4096);
  cache.checked();
}

// Blocks that the alignment rounds up to twice their size do not fit in number; the cache still serves what is new.
TEST_F(MemoryCacheTest, WhatRoundingCostsIsEvictedInTime) {
  TestCache cache(MemoryCacheOptions{.capacity = 40 * kMiB, .alignment = 4096});
  const Namespace odd = l1_test::make_namespace(4100);
  for (std::uint64_t c = 0; c < 120; ++c) {
    ASSERT_THAT(put(*cache, odd, keys_from(1000 * c, 100)), Each(Fate::kAdmitted)) << c;
  }
  EXPECT_EQ(cache->match_run(odd.id(), keys_from(119'000, 100)).blocks, 100);
  EXPECT_GT(cache.checked().visible, 40 * kMiB / 8192);
}

TEST_F(MemoryCacheTest, ACacheOfNothingDeclinesEverything) {
  TestCache cache(room_for(0, 1));
  EXPECT_EQ(put_one(*cache, ns_, key_of(1)), Fate::kDeclined);
  const auto block = cache->allocate_transit({ns_.id(), key_of(1)}, kBlock);
  ASSERT_TRUE(block) << "blocks can still pass through";
  cache->unpin(block->slot);
  EXPECT_EQ(cache.checked().transit, 0);
}

TEST_F(MemoryCacheTest, StatsCountWhatHappened) {
  TestCache cache(room_for(2));
  for (std::uint64_t n = 0; n < 3; ++n) put_one(*cache, ns_, key_of(n));
  CacheStats stats;
  cache->add_stats(stats);
  EXPECT_EQ(stats.l1.capacity_bytes, 2 * kBlock);
  EXPECT_EQ(stats.l1.used_bytes, 2 * kBlock);
  EXPECT_EQ(stats.l1.blocks, 2);
  EXPECT_EQ(stats.l1.evictions, 1);
  EXPECT_EQ(stats.l1.writes, 3);
  EXPECT_EQ(stats.l1.write_bytes, 3 * kBlock);
}

// ---- Pins. ----

TEST_F(MemoryCacheTest, PinsCanBeMovedJoinedAndUsedAgain) {
  TestCache cache(room_for(4));
  const auto keys = keys_from(0, 4);
  put(*cache, ns_, keys);
  Pins pins = pin(cache.cache, ns_, std::span(keys).first(2));
  pins.append(pin(cache.cache, ns_, std::span(keys).subspan(2)));
  EXPECT_EQ(pins.size(), 4);
  EXPECT_EQ(cache.checked().held, 4);
  pins.truncate(1);
  EXPECT_EQ(cache.checked().held, 1);
  pins.give_back();
  EXPECT_EQ(cache.checked().held, 0);
  Pins moved = std::move(pins);
  EXPECT_EQ(moved.size(), 1) << "the list stays";
  pins = pin(cache.cache, ns_, keys);
  EXPECT_EQ(cache.checked().held, 4);
  moved = std::move(pins);
  moved.release();
  EXPECT_EQ(cache.checked().held, 0);
}

}  // namespace
}  // namespace reprise
