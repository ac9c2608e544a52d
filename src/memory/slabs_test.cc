#include "memory/slabs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace reprise {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

SlabAllocator make(std::uint64_t max_slab_bytes, std::uint32_t alignment = 4096) {
  return SlabAllocator({SlabAllocator::arena_bytes_for(max_slab_bytes), max_slab_bytes, alignment});
}

/// Allocates until there is no more.
std::vector<std::uint64_t> fill(SlabAllocator& slabs, std::uint64_t bytes) {
  std::vector<std::uint64_t> out;
  while (const auto offset = slabs.allocate(bytes, 0)) out.push_back(*offset);
  return out;
}

class OneSize : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(OneSize, ACapacityOfNBlocksHoldsExactlyN) {
  const std::uint64_t size = GetParam();
  for (const std::uint64_t n : {1, 2, 3, 7, 100}) {
    SlabAllocator slabs = make(n * size, 256);
    std::vector<std::uint64_t> held = fill(slabs, size);
    ASSERT_EQ(held.size(), n);
    EXPECT_FALSE(slabs.can_cut(size));
    // Still so after everything was freed in some order, with slabs cut anew.
    std::mt19937 random(5);
    for (int round = 0; round < 5; ++round) {
      std::shuffle(held.begin(), held.end(), random);
      const std::size_t keep = random() % held.size();
      while (held.size() > keep) {
        slabs.free(held.back());
        held.pop_back();
      }
      for (const std::uint64_t offset : fill(slabs, size)) held.push_back(offset);
      ASSERT_EQ(held.size(), n);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, OneSize,
                         ::testing::Values(256, 4 * kKiB, 36 * kKiB, 256 * kKiB, 3 * kMiB, 4 * kMiB + 256, 8 * kMiB,
                                           12 * kMiB, 16 * kMiB));

TEST(Slabs, AnArenaSmallerThanASlabIsUsedWhole) {
  SlabAllocator slabs({10 * 4 * kKiB + 100, 1 * kMiB, 4096});
  EXPECT_EQ(fill(slabs, 4 * kKiB).size(), 10U);
}

TEST(Slabs, NeverBeyondTheEndOfTheArena) {
  SlabAllocator slabs({20 * kMiB, 1000 * kMiB, 4096});
  EXPECT_EQ(fill(slabs, 12 * kMiB).size(), 1U);
  EXPECT_EQ(fill(slabs, 3 * kMiB).size(), 1U);  // what is left is 4 MiB at the end
}

TEST(Slabs, SizesAreRoundedUpToTheAlignment) {
  SlabAllocator slabs = make(16 * kMiB);
  const std::uint64_t a = *slabs.allocate(1000, 1);
  const std::uint64_t b = *slabs.allocate(4096, 2);
  EXPECT_EQ(a % 4096, 0U);
  EXPECT_EQ(b % 4096, 0U);
  EXPECT_EQ(slabs.report().slabs, 1U);
  EXPECT_EQ(slabs.report().live_bytes, 2 * 4096U);
}

TEST(Slabs, FillsTheFullestSlabFirst) {
  SlabAllocator slabs = make(64 * kMiB);
  std::vector<std::uint64_t> held;
  for (int i = 0; i < 16; ++i) held.push_back(*slabs.allocate(kMiB, 0));  // two slabs of 8
  for (int i = 0; i < 6; ++i) slabs.free(held[i]);                        // the first has 2 left
  slabs.free(held[8]);                                                    // the second 7
  EXPECT_EQ(*slabs.allocate(kMiB, 0), held[8]);
  EXPECT_EQ(*slabs.allocate(kMiB, 0) / SlabAllocator::kSlabBytes, 0U);
}

TEST(Slabs, OwnersAreKept) {
  SlabAllocator slabs = make(16 * kMiB);
  const std::uint64_t a = *slabs.allocate(4096, 11);
  const std::uint64_t b = *slabs.allocate(4096, SlabAllocator::kMaxOwner);
  slabs.set_owner(a, 12);
  EXPECT_EQ(slabs.owner(a), 12U);
  EXPECT_EQ(slabs.owner(b), SlabAllocator::kMaxOwner);
}

TEST(Slabs, OneEmptySlabPerSizeIsKeptAndGivenUpWhenAnotherSizeNeedsIt) {
  SlabAllocator slabs = make(16 * kMiB);
  for (const std::uint64_t offset : fill(slabs, kMiB)) slabs.free(offset);
  EXPECT_EQ(slabs.report().slabs, 1U);
  EXPECT_EQ(slabs.report().cut_bytes, 8 * kMiB);
  EXPECT_EQ(slabs.free_chunks(kMiB), 8U);
  EXPECT_TRUE(slabs.can_cut(16 * kMiB));
  EXPECT_TRUE(slabs.allocate(16 * kMiB, 0));
  EXPECT_EQ(slabs.free_chunks(kMiB), 0U);
  EXPECT_EQ(slabs.report().cut_bytes, 16 * kMiB);
}

TEST(Slabs, AClosedSlabIsNotAllocatedFromAndGoesWithItsLastBlock) {
  SlabAllocator slabs = make(8 * kMiB);
  const std::uint64_t a = *slabs.allocate(kMiB, 7);
  const std::uint64_t b = *slabs.allocate(kMiB, 8);
  slabs.close(0);
  EXPECT_EQ(slabs.free_chunks(kMiB), 0U);
  EXPECT_FALSE(slabs.allocate(kMiB, 0));
  slabs.reopen(0);
  EXPECT_EQ(slabs.free_chunks(kMiB), 6U);
  const std::uint64_t c = *slabs.allocate(kMiB, 9);
  slabs.close(0);
  std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
  slabs.live_blocks(0, live);
  EXPECT_THAT(live, UnorderedElementsAre(Pair(a, 7), Pair(b, 8), Pair(c, 9)));
  slabs.free(a);
  slabs.free(b);
  EXPECT_FALSE(slabs.can_cut(4 * kKiB));
  slabs.free(c);
  EXPECT_EQ(slabs.report().slabs, 0U);
  EXPECT_TRUE(slabs.can_cut(4 * kKiB));
  slabs.reopen(0);  // gone by then: nothing happens
  EXPECT_EQ(slabs.report().slabs, 0U);
}

TEST(Slabs, TheVictimIsOfAnotherSizeAndMovableBeforeCheap) {
  SlabAllocator slabs = make(40 * kMiB);
  std::vector<std::uint64_t> small;
  for (int i = 0; i < 16; ++i) small.push_back(*slabs.allocate(kMiB, 0));
  std::vector<std::uint64_t> large;
  for (int i = 0; i < 6; ++i) large.push_back(*slabs.allocate(4 * kMiB, 0));  // three slabs of two, full
  EXPECT_FALSE(slabs.can_cut(2 * kMiB));
  EXPECT_FALSE(slabs.emptiest_slab(2 * kMiB)->live == 0);
  slabs.free(large[0]);
  slabs.free(large[2]);  // 4 MiB live in each, and either has room for the other's
  slabs.free(small[0]);  // 7 MiB live, room for one
  auto victim = slabs.emptiest_slab(2 * kMiB);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->block_bytes, 4 * kMiB);
  EXPECT_EQ(victim->live, 1U);
  victim = slabs.emptiest_slab(4 * kMiB);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->block_bytes, kMiB);
  EXPECT_EQ(victim->slab, small[0] / SlabAllocator::kSlabBytes);
  // Cheap (1 MiB) but with nowhere to go loses against 4 MiB that can move.
  for (int i = 1; i < 7; ++i) slabs.free(small[i]);
  slabs.close(static_cast<std::uint32_t>(small[8] / SlabAllocator::kSlabBytes));
  victim = slabs.emptiest_slab(2 * kMiB);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->block_bytes, 4 * kMiB);
}

TEST(Slabs, NoVictimWhenThereIsOnlyTheWantedSize) {
  SlabAllocator slabs = make(16 * kMiB);
  fill(slabs, kMiB);
  EXPECT_FALSE(slabs.emptiest_slab(kMiB));
}

/// Empties victims until a slab for `bytes` can be cut; the number of blocks that had to go, -1 if it never worked.
int starve(SlabAllocator& slabs, std::uint64_t bytes, std::map<std::uint64_t, std::pair<std::uint64_t, int>>& model,
           std::uint32_t retire_one_in = 0) {
  int gone = 0;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
  const bool retire = retire_one_in > 0 && slabs.has_addresses(bytes);
  while (!slabs.can_cut(bytes)) {
    const auto victim = slabs.emptiest_slab(bytes);
    if (!victim) return -1;
    live.clear();
    slabs.live_blocks(victim->slab, live);
    EXPECT_EQ(live.size(), victim->live);
    slabs.close(victim->slab);
    for (const auto& [offset, owner] : live) {
      if (retire && owner % retire_one_in == 0 && live.size() > 1) continue;  // held
      slabs.free(offset);
      model.erase(offset);
      ++gone;
    }
    slabs.retire(victim->slab);
  }
  return gone;
}

TEST(Slabs, EmptyingMakesRoomForABlockLargerThanASlab) {
  SlabAllocator slabs({64 * kMiB, 64 * kMiB, 4096});
  std::map<std::uint64_t, std::pair<std::uint64_t, int>> model;
  std::vector<std::uint64_t> held = fill(slabs, kMiB);
  ASSERT_EQ(held.size(), 64U);
  // Every other slab is nearly empty, but no two neighbours are: the cheapest 12 MiB cost one full slab.
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (i / 8 % 2 == 0 && i % 8 != 0) slabs.free(held[i]);
  }
  EXPECT_EQ(starve(slabs, 12 * kMiB, model), 9);
  EXPECT_TRUE(slabs.allocate(12 * kMiB, 0));
}

std::uint64_t discard_all(SlabAllocator& slabs) {
  std::uint64_t bytes = 0;
  SlabAllocator::Discard discard;
  while (slabs.begin_discard(discard)) {
    for (const auto& range : discard.ranges) bytes += range.second;
    slabs.end_discard(discard);
  }
  return bytes;
}

/// Random calls against a model: no overlap, owners right, limits kept, everything comes back.
TEST(Slabs, PropertyMixedSizes) {
  const std::vector<std::uint64_t> sizes = {256,      4 * kKiB, 36 * kKiB, 256 * kKiB, 1000 * kKiB,
                                            3 * kMiB, 4 * kMiB, 7 * kMiB,  12 * kMiB,  4 * kMiB + 1};
  for (unsigned seed = 1; seed <= 6; ++seed) {
    const std::uint32_t alignment = seed % 2 == 0 ? 4096 : 256;
    const std::uint64_t limit = 200 * kMiB + seed * 12'345;
    SlabAllocator slabs({SlabAllocator::arena_bytes_for(limit), limit, alignment});
    std::mt19937 random(seed);
    std::map<std::uint64_t, std::pair<std::uint64_t, int>> model;  // offset -> bytes, owner
    std::uint64_t allocated = 0;
    std::uint64_t emptied = 0;
    for (int step = 0; step < 30'000; ++step) {
      const bool shrink = step / 3000 % 3 == 2;
      if (model.empty() || random() % 100 < (shrink ? 35U : 60U)) {
        // A phase favours one size, so that sizes starve each other.
        const std::uint64_t bytes =
            random() % 3 == 0 ? sizes[random() % sizes.size()] : sizes[step / 2000 % sizes.size()];
        const bool promised = slabs.free_chunks(bytes) > 0 || slabs.can_cut(bytes);
        const auto offset = slabs.allocate(bytes, static_cast<std::uint32_t>(step));
        ASSERT_EQ(offset.has_value(), promised);
        if (!offset) {
          if (random() % 4 == 0 && starve(slabs, bytes, model, seed <= 3 ? 0 : seed) > 0) ++emptied;
          continue;
        }
        ++allocated;
        ASSERT_EQ(*offset % alignment, 0U);
        ASSERT_LE(*offset + bytes, SlabAllocator::arena_bytes_for(limit));
        auto next = model.lower_bound(*offset);
        if (next != model.end()) {
          ASSERT_LE(*offset + bytes, next->first);
        }
        if (next != model.begin()) {
          const auto before = std::prev(next);
          ASSERT_LE(before->first + before->second.first, *offset);
        }
        model[*offset] = {bytes, step};
      } else {
        auto it = model.lower_bound(random() % (SlabAllocator::arena_bytes_for(limit)));
        if (it == model.end()) it = model.begin();
        ASSERT_EQ(slabs.owner(it->first), static_cast<std::uint32_t>(it->second.second));
        slabs.free(it->first);
        model.erase(it);
      }
      const auto report = slabs.report();
      ASSERT_LE(report.cut_bytes, limit);
      ASSERT_LE(report.live_bytes, report.cut_bytes);
      if (step % 100 != 0) continue;
      // Slabs of sizes that do not divide 8 MiB may keep pages behind their last block.
      discard_all(slabs);
      ASSERT_FALSE(slabs.wants_discard());
      ASSERT_LE(slabs.report().page_bytes, 2 * limit);
    }
    EXPECT_GT(allocated, 5'000U);
    EXPECT_GT(emptied, 10U);
    for (const auto& [offset, what] : model) {
      ASSERT_EQ(slabs.owner(offset), static_cast<std::uint32_t>(what.second));
      slabs.free(offset);
    }
    EXPECT_EQ(slabs.report().live_bytes, 0U);
    EXPECT_LE(slabs.report().slabs, sizes.size());  // at most the one kept per size
    EXPECT_EQ(fill(slabs, 200 * kMiB).size(), 1U);  // and those go when needed
    EXPECT_EQ(slabs.report().slabs, 1U);
  }
}

TEST(Slabs, ARetiredSlabCountsForItsLiveBlocksOnly) {
  SlabAllocator slabs = make(16 * kMiB);
  const std::vector<std::uint64_t> held = fill(slabs, kMiB);
  ASSERT_EQ(held.size(), 16U);
  slabs.retire(0);
  EXPECT_EQ(slabs.report().cut_bytes, 16 * kMiB) << "not closed: nothing happens";
  for (std::size_t i = 0; i < 6; ++i) slabs.free(held[i]);
  slabs.close(0);
  slabs.retire(0);
  EXPECT_EQ(slabs.report().cut_bytes, 10 * kMiB);
  EXPECT_EQ(slabs.free_chunks(kMiB), 0U);
  slabs.reopen(0);
  EXPECT_EQ(slabs.free_chunks(kMiB), 0U) << "for good";
  const std::vector<std::uint64_t> other = fill(slabs, 3 * kMiB);
  EXPECT_EQ(other.size(), 2U) << "elsewhere";
  EXPECT_GE(other[0], 16 * kMiB);
  slabs.free(held[6]);
  EXPECT_EQ(slabs.report().cut_bytes, 15 * kMiB);
  slabs.free(held[7]);
  EXPECT_EQ(slabs.report().cut_bytes, 14 * kMiB);
  EXPECT_EQ(slabs.report().slabs, 2U);
  EXPECT_EQ(*slabs.allocate(512 * kKiB, 0) / SlabAllocator::kSlabBytes, 0U) << "its addresses are free again";
}

TEST(Slabs, RetiredBlocksSmallerThanAPageCountForTheirPages) {
  SlabAllocator slabs = make(8 * kMiB, 256);
  const std::vector<std::uint64_t> held = fill(slabs, 256);
  EXPECT_EQ(slabs.retired_bytes(0, 3), 3 * 4 * kKiB);
  EXPECT_EQ(slabs.retired_bytes(0, 30'000), 8 * kMiB);
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (i % 1024 != 7) slabs.free(held[i]);
  }
  slabs.close(0);
  slabs.retire(0);
  EXPECT_EQ(slabs.report().cut_bytes, 32 * 4 * kKiB);
}

TEST(Slabs, DiscardsThePagesBetweenTheBlocksOfARetiredSlab) {
  SlabAllocator slabs = make(8 * kMiB);
  std::vector<std::uint64_t> held = fill(slabs, 36 * kKiB);
  SlabAllocator::Discard discard;
  EXPECT_FALSE(slabs.begin_discard(discard)) << "pages are not short";
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (i != 10 && i != 11 && i != 20) slabs.free(held[i]);
  }
  slabs.close(0);
  slabs.retire(0);
  EXPECT_FALSE(slabs.begin_discard(discard)) << "still not short";
  ASSERT_TRUE(slabs.allocate(4 * kMiB, 0));
  ASSERT_TRUE(slabs.begin_discard(discard));
  const std::uint64_t end = held.size() * 36 * kKiB;
  EXPECT_THAT(discard.ranges, ::testing::ElementsAre(Pair(0, 360 * kKiB), Pair(12 * 36 * kKiB, 8 * 36 * kKiB),
                                                     Pair(21 * 36 * kKiB, end - 21 * 36 * kKiB)));
  EXPECT_EQ(discard.kept, 3 * 36 * kKiB);
  for (const std::size_t i : {10, 11, 20}) slabs.free(held[i]);  // meanwhile the last blocks go
  EXPECT_EQ(slabs.report().slabs, 2U) << "not to be cut again while it is discarded";
  slabs.end_discard(discard);
  EXPECT_EQ(slabs.report().slabs, 1U);
}

TEST(Slabs, BookkeepingStaysSmall) {
  SlabAllocator slabs = make(1024 * kMiB);
  const std::size_t blocks = fill(slabs, 32 * kKiB).size();
  EXPECT_EQ(blocks, 32'768U);
  EXPECT_LT(slabs.report().metadata_bytes, 6 * blocks);
}

}  // namespace
}  // namespace reprise
