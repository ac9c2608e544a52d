// Memory moves from one block size to another while the blocks in it are read.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "l1/memory_cache.h"
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

// Eight slabs, for a capacity of half of them. Two sizes hold all eight, each slab with one block left in it.
class RelocationTest : public ::testing::Test {
 protected:
  RelocationTest() {
    leave_one_per_slab(a_, keys_from(0, 32), 8, left_a_);
    leave_one_per_slab(b_, keys_from(100, 27), 7, left_b_);
    wanted_ = keys_from(200, 23);
  }

  void leave_one_per_slab(const Namespace& ns, const std::vector<BlockKey>& keys, std::size_t per_slab,
                          std::vector<BlockKey>& left) {
    EXPECT_THAT(put(*cache_, ns, keys), Each(Fate::kAdmitted));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i % per_slab == 0) {
        left.push_back(keys[i]);
      } else {
        cache_->erase(ns.id(), std::span(&keys[i], 1));
      }
    }
  }
  PinnedBlock look(const Namespace& ns, const BlockKey& key) const {
    const Pins pins = pin(cache_.cache, ns, std::span(&key, 1));
    EXPECT_EQ(pins.size(), 1) << "dropped instead of moved";
    if (pins.empty()) return {};
    EXPECT_TRUE(holds_block(pins[0], ns.id(), key));
    return pins[0];
  }
  std::set<const std::byte*> places_of_a() const {
    std::set<const std::byte*> places;
    for (const BlockKey& key : left_a_) places.insert(look(a_, key).data);
    return places;
  }

  const Namespace a_ = l1_test::make_namespace(kMiB);
  const Namespace b_ = l1_test::make_namespace(kMiB + 64);
  const Namespace c_ = l1_test::make_namespace(kMiB + 128);
  TestCache cache_{MemoryCacheOptions{.capacity = 32 * kMiB}};
  std::vector<BlockKey> left_a_, left_b_, wanted_;
};

TEST_F(RelocationTest, BlocksMoveTogetherToMakeRoomForAnotherSize) {
  const auto before = places_of_a();
  EXPECT_THAT(put(*cache_, c_, wanted_), Each(Fate::kAdmitted));
  EXPECT_NE(places_of_a(), before);
  for (const BlockKey& key : left_b_) look(b_, key);
  EXPECT_EQ(cache_->match_run(c_.id(), wanted_).blocks, wanted_.size());
  for (const BlockKey& key : wanted_) look(c_, key);
  EXPECT_EQ(cache_.checked().visible, left_a_.size() + left_b_.size() + wanted_.size());
}

TEST_F(RelocationTest, HeldBlocksNeverMove) {
  Pins held(cache_.cache);
  cache_->pin_each(a_.id(), left_a_, held);
  cache_->pin_each(b_.id(), std::span(left_b_).first(2), held);
  const auto before = places_of_a();
  const auto fates = put(*cache_, c_, wanted_);
  EXPECT_THAT(fates, Each(Fate::kAdmitted)) << "the memory around them is enough";
  EXPECT_EQ(places_of_a(), before);
  EXPECT_EQ(look(b_, left_b_[0]).data, held[4].data);
  EXPECT_EQ(look(b_, left_b_[1]).data, held[5].data);
  for (const BlockKey& key : wanted_) look(c_, key);
  held.release();
  cache_.checked();
}

TEST_F(RelocationTest, ReadersSeeTheSameBytesWhileBlocksMove) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> missed{0};
  std::atomic<int> moved{0};
  std::vector<std::jthread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&, t] {
      for (std::size_t i = static_cast<std::size_t>(t); !stop.load(); ++i) {
        std::this_thread::yield();
        const Namespace& ns = i % 2 == 0 ? a_ : b_;
        const BlockKey& key = (i % 2 == 0 ? left_a_ : left_b_)[i / 2 % 4];
        const Pins pins = pin(cache_.cache, ns, std::span(&key, 1));
        missed += pins.empty() ? 1 : 0;
        for (int look = i % 4 == 0 ? 100 : 1; look > 0 && !pins.empty(); --look) {
          std::this_thread::yield();
          const Pins again = pin(cache_.cache, ns, std::span(&key, 1));
          moved += !again.empty() && pins[0].data != again[0].data ? 1 : 0;
        }
        wrong += !pins.empty() && !holds_block(pins[0], ns.id(), key) ? 1 : 0;
      }
    });
  }
  // Blocks that are being read stay, and keep memory from the others, so one try may not be enough.
  std::size_t run = 0;
  for (int tries = 0; tries < 100'000 && run < wanted_.size(); ++tries) {
    put(*cache_, c_, std::span(wanted_).first(run + 1), run);
    run = cache_->match_run(c_.id(), wanted_).blocks;
    std::this_thread::yield();
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(run, wanted_.size());
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(moved.load(), 0) << "while it was held";
  EXPECT_EQ(missed.load(), 0) << "there was room for all to move";
  EXPECT_EQ(cache_.checked().held, 0);
}

TEST(Relocation, BlocksWithNowhereToGoAreDropped) {
  TestCache cache(MemoryCacheOptions{.capacity = 32 * kMiB});
  for (std::uint64_t size = 0; size < 8; ++size) {  // eight sizes, one slab each, two blocks left in it
    const Namespace ns = l1_test::make_namespace(kMiB + 64 * size);
    const auto keys = keys_from(100 * size, 7);
    ASSERT_THAT(put(*cache, ns, keys), Each(Fate::kAdmitted));
    cache->erase(ns.id(), std::span(keys).subspan(2));
  }
  const Namespace ns = l1_test::make_namespace(kMiB + 64 * 8);
  const auto keys = keys_from(900, 14);
  EXPECT_THAT(put(*cache, ns, keys), Each(Fate::kAdmitted));
  for (const BlockKey& key : keys) EXPECT_TRUE(has(*cache, ns, key));
  CacheStats stats;
  cache->add_stats(stats);
  EXPECT_GE(stats.l1.evictions, 2);
  EXPECT_EQ(cache.checked().visible, 16 + 14 - stats.l1.evictions);
}

// Nine slabs: eight with a block that was erased while it is held, and one with two blocks of another size.
TEST(Relocation, ASlabThatKeepsABlockGivesTheRestOfItsMemory) {
  TestCache cache(MemoryCacheOptions{.capacity = 40 * kMiB});
  const Namespace two = l1_test::make_namespace(4 * kMiB);
  const Namespace whole = l1_test::make_namespace(8 * kMiB);
  const Namespace third = l1_test::make_namespace(3 * kMiB);
  put(*cache, two, keys_from(0, 2));
  Pins held(cache.cache);
  for (std::uint64_t n = 10; n < 18; ++n) {
    const BlockKey key = key_of(n);
    ASSERT_EQ(put_one(*cache, whole, key), Fate::kAdmitted);
    held.append(pin(cache.cache, whole, std::span(&key, 1)));
    cache->erase(whole.id(), std::span(&key, 1));
  }
  Pins reader(cache.cache);
  cache.notes->on_remove = [&](BlockSlot) {  // the first of the two is dropped; a reader comes for the second
    const BlockKey second = key_of(1);
    if (reader.empty()) reader = pin(cache.cache, two, std::span(&second, 1));
  };
  EXPECT_EQ(put_one(*cache, third, key_of(50)), Fate::kAdmitted);
  cache.notes->on_remove = nullptr;
  ASSERT_EQ(reader.size(), 1);
  EXPECT_TRUE(holds_block(reader[0], two.id(), key_of(1)));
  reader.release();
  EXPECT_EQ(put_one(*cache, two, key_of(2)), Fate::kAdmitted);
  cache.checked();
}

// Each slab of one size keeps one block that is held, in its middle; all the memory around is another size's.
TEST(Relocation, HeldBlocksKeepOnlyTheirOwnMemory) {
  TestCache cache(MemoryCacheOptions{.capacity = 64 * kMiB});
  const Namespace small = l1_test::make_namespace(256 * l1_test::kKiB);
  const Namespace large = l1_test::make_namespace(4 * kMiB);
  const auto keys = keys_from(0, 256);
  ASSERT_THAT(put(*cache, small, keys), Each(Fate::kAdmitted));
  Pins held(cache.cache);
  std::vector<BlockKey> held_keys;
  for (std::size_t i = 5; i < keys.size(); i += 32) held_keys.push_back(keys[i]);
  ASSERT_EQ(cache->pin_each(small.id(), held_keys, held), 8);
  const auto wanted = keys_from(1000, 15);
  // All but the held 2 MiB of the capacity.
  EXPECT_THAT(put(*cache, large, wanted), Each(Fate::kAdmitted));
  const auto once_more = keys_from(2000, 15);
  EXPECT_THAT(put(*cache, large, once_more), Each(Fate::kAdmitted));
  EXPECT_EQ(cache->match_run(large.id(), once_more).blocks, 15);
  for (std::size_t i = 0; i < held_keys.size(); ++i) {
    EXPECT_TRUE(holds_block(held[i], small.id(), held_keys[i])) << i;
    const Pins again = pin(cache.cache, small, std::span(&held_keys[i], 1));
    ASSERT_EQ(again.size(), 1);
    EXPECT_EQ(again[0].data, held[i].data) << "moved";
  }
  held.release();
  cache.checked();
  // And back: what was retired is all there for the first size.
  const auto back = keys_from(3000, 256);
  EXPECT_THAT(put(*cache, small, back), Each(Fate::kAdmitted));
  for (const BlockKey& key : back) EXPECT_TRUE(has(*cache, small, key));
  const auto census = cache.checked();
  EXPECT_EQ(census.visible, 256);
  EXPECT_EQ(census.held, 0);
}

/// Bytes of the mapping around `at` that are backed by pages.
std::uint64_t pages_around(const std::byte* at) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long long first = 0, end = 0, kib = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &end) == 2) {
      inside = reinterpret_cast<std::uintptr_t>(at) >= first && reinterpret_cast<std::uintptr_t>(at) < end;
    } else if (inside && std::sscanf(line.c_str(), "Rss: %llu kB", &kib) == 1) {
      return kib * l1_test::kKiB;
    }
  }
  return 0;
}

// Holders come and go for long: addresses of retired slabs come back, and a starving size is always served.
TEST(Relocation, SizesTakeTurnsWhileBlocksAreHeldEverywhere) {
  TestCache cache(MemoryCacheOptions{.capacity = 64 * kMiB});
  std::vector<Namespace> spaces;
  for (const std::uint64_t bytes : {64 * l1_test::kKiB, 4 * kMiB, 200 * l1_test::kKiB + 64, 1 * kMiB}) {
    spaces.push_back(l1_test::make_namespace(bytes));
  }
  std::vector<Pins> holds(3);
  std::vector<std::vector<BlockKey>> hold_keys(3);
  std::uint64_t most_pages = 0;
  for (std::uint64_t round = 0; round < 24; ++round) {
    const Namespace& ns = spaces[round % spaces.size()];
    const auto keys = keys_from(10'000 * (round + 1), 32 * kMiB / ns.block_bytes());
    for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(put_one(*cache, ns, keys[i]), Fate::kAdmitted) << round;
    Pins& hold = holds[round % holds.size()];
    auto& mine = hold_keys[round % holds.size()];
    const Namespace& before = spaces[(round + spaces.size() * 3 - 3) % spaces.size()];
    for (std::size_t i = 0; i < hold.size(); ++i) {
      EXPECT_TRUE(holds_block(hold[i], before.id(), mine[i])) << round;
    }
    hold.release();
    hold = Pins(cache.cache);
    mine.clear();
    const std::size_t apart = std::max<std::uint64_t>(8 * kMiB / ns.block_bytes() / 2, 3);
    for (std::size_t i = 1; i < keys.size(); i += apart) mine.push_back(keys[i]);
    ASSERT_EQ(cache->pin_each(ns.id(), mine, hold), mine.size());
    most_pages = std::max(most_pages, pages_around(hold[0].data));
  }
  // The capacity and its slack of 32 MiB; and up to 184 KiB a slab behind the third size's last block.
  EXPECT_GT(most_pages, 64 * kMiB);
  EXPECT_LE(most_pages, (64 + 32 + 8) * kMiB);
  for (Pins& hold : holds) hold.release();
  EXPECT_EQ(cache.checked().held, 0);
}

}  // namespace
}  // namespace reprise
