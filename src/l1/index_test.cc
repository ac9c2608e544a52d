#include "l1/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "l1/test_util.h"

namespace reprise {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<BlockSlot> candidates(const BlockIndex& index, std::uint64_t hash) {
  std::vector<BlockSlot> out;
  BlockIndex::Probe probe(index, hash);
  for (BlockSlot slot = probe.next(); slot != kNoSlot; slot = probe.next()) out.push_back(slot);
  return out;
}

void grow(BlockIndex& index, std::uint64_t entries, const std::map<BlockSlot, std::uint64_t>& present = {}) {
  index.grow(entries, [&](const BlockIndex::Insert& insert) {
    for (const auto& [slot, hash] : present) insert(hash, slot);
  });
}

TEST(BlockIndex, FindsWhatWasInsertedUntilItIsErased) {
  BlockIndex index;
  EXPECT_THAT(candidates(index, 42), IsEmpty());
  index.insert(42, 0);  // slot 0 is a slot like any other
  EXPECT_THAT(candidates(index, 42), ElementsAre(0));
  EXPECT_EQ(index.size(), 1);
  index.erase(42, 0);
  EXPECT_THAT(candidates(index, 42), IsEmpty());
  EXPECT_EQ(index.size(), 0);
}

TEST(BlockIndex, OffersEverySlotOfOneHash) {
  BlockIndex index;
  grow(index, 100);
  const std::uint64_t hash = l1_test::mix(7);
  for (BlockSlot slot = 0; slot < 20; ++slot) index.insert(hash, slot);  // three buckets' worth
  EXPECT_EQ(candidates(index, hash).size(), 20);
  index.erase(hash, 3);
  EXPECT_THAT(candidates(index, hash), Not(Contains(3)));
  EXPECT_THAT(candidates(index, hash), Contains(19)) << "behind the gap, two buckets on";
  for (BlockSlot slot = 0; slot < 20; ++slot) index.erase(hash, slot);
  EXPECT_EQ(index.size(), 0);
  EXPECT_THAT(candidates(index, hash), IsEmpty());
}

TEST(BlockIndex, WrapsAroundAtTheLastBucket) {
  BlockIndex index;
  grow(index, 100);
  const std::uint64_t hash = ~std::uint64_t{0};  // at home in the last bucket
  for (BlockSlot slot = 0; slot < 10; ++slot) index.insert(hash, slot);
  EXPECT_EQ(candidates(index, hash).size(), 10);
}

TEST(BlockIndex, ErasingWhatIsNotThereChangesNothing) {
  BlockIndex index;
  grow(index, 100);
  for (BlockSlot slot = 0; slot < 9; ++slot) index.insert(5, slot);
  index.erase(5, 77);
  index.erase(6, 0);
  EXPECT_EQ(index.size(), 9);
  EXPECT_EQ(candidates(index, 5).size(), 9);
}

TEST(BlockIndex, AgreesWithAMapAtFullLoad) {
  constexpr std::uint64_t kEntries = 3000;
  BlockIndex index;
  grow(index, kEntries);
  std::map<BlockSlot, std::uint64_t> model;
  std::mt19937_64 random(1);
  for (int step = 0; step < 60'000; ++step) {
    const auto slot = static_cast<BlockSlot>(random() % kEntries);
    if (const auto there = model.find(slot); there != model.end()) {
      index.erase(there->second, slot);
      model.erase(there);
    } else if (random() % 8 != 0) {  // settles at about seven eighths of what there is room for
      model[slot] = random();
      index.insert(model[slot], slot);
    }
    if (step == 30'000) grow(index, 2 * kEntries, model);
  }
  ASSERT_GT(model.size(), kEntries / 3);
  EXPECT_EQ(index.size(), model.size());
  for (BlockSlot slot = 0; slot < kEntries; ++slot) {
    const auto there = model.find(slot);
    if (there == model.end()) continue;
    ASSERT_THAT(candidates(index, there->second), Contains(slot));
  }
}

// What stays in the index is found by readers at every moment, while its neighbours come and go.
TEST(BlockIndex, ReadersNeverMissWhatStays) {
  constexpr BlockSlot kStay = 200;
  BlockIndex index;
  grow(index, 1000);
  const auto hash_of = [](BlockSlot slot) { return l1_test::mix(slot); };
  std::map<BlockSlot, std::uint64_t> stay;
  for (BlockSlot slot = 0; slot < kStay; ++slot) {
    stay[slot] = hash_of(slot);
    index.insert(hash_of(slot), slot);
  }
  std::atomic<bool> stop{false};
  std::atomic<int> missed{0};
  std::atomic<int> rounds{0};
  std::jthread reader([&] {
    while (!stop.load()) {
      for (BlockSlot slot = 0; slot < kStay; ++slot) {
        BlockIndex::Probe probe(index, hash_of(slot));
        BlockSlot found = probe.next();
        while (found != kNoSlot && found != slot) found = probe.next();
        if (found == kNoSlot) missed.fetch_add(1);
      }
      rounds.fetch_add(1);
    }
  });
  std::mt19937_64 random(2);
  std::map<BlockSlot, std::uint64_t> all = stay;
  for (int step = 0; step < 20'000 || rounds.load() == 0; ++step) {
    const auto slot = static_cast<BlockSlot>(kStay + random() % 800);
    if (all.erase(slot) != 0) {
      index.erase(hash_of(slot), slot);
    } else {
      all[slot] = hash_of(slot);
      index.insert(hash_of(slot), slot);
    }
    if (step == 5'000 || step == 10'000) grow(index, 1000 + static_cast<std::uint64_t>(step), all);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(missed.load(), 0);
}

}  // namespace
}  // namespace reprise
