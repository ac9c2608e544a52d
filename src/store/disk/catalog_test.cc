#include "store/disk/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "testing/blocks.h"

namespace reprise::disk {
namespace {

using testing::block_id;

SegmentPtr segment(std::uint64_t sequence) {
  auto made = std::make_shared<Segment>();
  made->tag = {sequence, 1};
  return made;
}
Record record(std::uint64_t n, std::uint32_t page, std::uint32_t length = 4096) {
  return {block_id(n), n, length, page};
}
bool finds(const Catalog& catalog, std::uint64_t n, Place& place) {
  return catalog.find(block_id(n), 0, place) == Catalog::Found::kYes;
}

TEST(DiskCatalog, TakesAtMostFortyBytesABlock) {
  Catalog catalog(16384, 1);
  constexpr std::uint32_t kPerSegment = 2000;
  std::uint64_t n = 0;
  for (int s = 0; s < 150; ++s) {
    const auto slot = catalog.add_segment(segment(s), 16384);
    for (std::uint32_t i = 0; i < kPerSegment; ++i, ++n) {
      const Record r = record(n, i);
      catalog.publish(*slot, std::span(&r, 1));
    }
    catalog.shrink(*slot);
    if (s > 10) {
      EXPECT_LE(catalog.memory_bytes(), 40 * n) << n;
    }
  }
}

TEST(DiskCatalog, KeepsTheFirstCopyUnlessReplaying) {
  Catalog catalog(16, 1);
  const auto a = catalog.add_segment(segment(1), 16);
  const auto b = catalog.add_segment(segment(2), 16);
  const Record first = record(1, 1);
  const Record second = record(1, 9);
  EXPECT_EQ(catalog.publish(*a, std::span(&first, 1)), 1u);
  EXPECT_EQ(catalog.publish(*b, std::span(&second, 1)), 0u);
  Place place;
  ASSERT_TRUE(finds(catalog, 1, place));
  EXPECT_EQ(place.slot, *a);
  EXPECT_EQ(catalog.publish(*b, std::span(&second, 1), true), 1u);
  ASSERT_TRUE(finds(catalog, 1, place));
  EXPECT_EQ(place.slot, *b);
  EXPECT_EQ(catalog.blocks(), 1u);
  const Record tombstone{block_id(1), 0, 0, 10};
  catalog.publish(*b, std::span(&tombstone, 1), true);
  EXPECT_FALSE(finds(catalog, 1, place));
  EXPECT_EQ(catalog.payload_bytes(), 0u);
}

TEST(DiskCatalog, AStalePlaceDoesNothing) {
  Catalog catalog(16, 1);
  const auto a = catalog.add_segment(segment(1), 16);
  const Record one = record(1, 1);
  catalog.publish(*a, std::span(&one, 1));
  Place old;
  ASSERT_TRUE(finds(catalog, 1, old));
  EXPECT_EQ(catalog.remove_segment(*a), 1u);
  const auto b = catalog.add_segment(segment(2), 16);
  ASSERT_EQ(*a, *b) << "the slot is used again";
  catalog.publish(*b, std::span(&one, 1));
  catalog.mark_hit(old);
  EXPECT_TRUE(catalog.hot(*b, 1 << 20).empty());
  EXPECT_FALSE(catalog.drop(block_id(1), old));
  Place now;
  EXPECT_TRUE(finds(catalog, 1, now));
  EXPECT_EQ(old.segment->tag.sequence, 1u) << "and the old segment is still open for its reader";
}

TEST(DiskCatalog, MovesOnlyWhatIsStillThere) {
  Catalog catalog(16, 1);
  const auto a = catalog.add_segment(segment(1), 16);
  const auto b = catalog.add_segment(segment(2), 16);
  const std::vector<Record> both{record(1, 1), record(2, 2)};
  catalog.publish(*a, both);
  Place one;
  Place two;
  ASSERT_TRUE(finds(catalog, 1, one) && finds(catalog, 2, two));
  catalog.mark_hit(one);
  catalog.mark_hit(two);
  EXPECT_EQ(catalog.hot(*a, 4096).size(), 1u) << "bounded in bytes";
  EXPECT_EQ(catalog.hot(*a, 8192).size(), 2u);
  catalog.erase(block_id(2));
  EXPECT_TRUE(catalog.publish_moved(*b, record(1, 5), one));
  EXPECT_FALSE(catalog.publish_moved(*b, record(2, 6), two));
  EXPECT_EQ(catalog.remove_segment(*a), 0u);
  ASSERT_TRUE(finds(catalog, 1, one));
  EXPECT_EQ(one.page, 5u);
  EXPECT_TRUE(catalog.hot(*b, 8192).empty()) << "a moved block has to be read again to move again";
  EXPECT_EQ(catalog.blocks(), 1u);
}

TEST(DiskCatalog, NamespacesAreForgottenWithTheirLastSegment) {
  Catalog catalog(2, 1);
  // More namespaces over time than could be known at once.
  for (std::uint64_t n = 0; n < 70'000; ++n) {
    const auto slot = catalog.add_segment(segment(n), 1);
    const Record r{block_id(1, n), 1, 4096, 1};
    ASSERT_EQ(catalog.publish(*slot, std::span(&r, 1)), 1u) << n;
    catalog.remove_segment(*slot);
  }
}

TEST(DiskCatalog, AgreesWithAMapUnderRandomUse) {
  std::mt19937_64 random(5);
  Catalog catalog(512, random());
  struct At {
    std::uint32_t slot;
    std::uint32_t page;
  };
  std::map<std::uint64_t, At> model;
  std::vector<std::uint32_t> slots{*catalog.add_segment(segment(0), 512)};
  std::uint32_t page = 0;
  for (int step = 0; step < 100'000; ++step) {
    const std::uint64_t n = random() % 3000;
    const auto what = random() % 10;
    Place place;
    if (what < 5) {
      if (page == 512) {
        slots.push_back(*catalog.add_segment(segment(static_cast<std::uint64_t>(step)), 512));
        page = 0;
        if (slots.size() > 6) {
          const std::uint32_t oldest = slots.front();
          slots.erase(slots.begin());
          EXPECT_EQ(catalog.remove_segment(oldest),
                    std::erase_if(model, [&](auto& m) { return m.second.slot == oldest; }));
        }
      }
      const Record r = record(n, page);
      EXPECT_EQ(catalog.publish(slots.back(), std::span(&r, 1)), model.contains(n) ? 0u : 1u);
      model.emplace(n, At{slots.back(), page});
      ++page;
    } else if (what < 7) {
      EXPECT_EQ(catalog.erase(block_id(n)), model.erase(n) == 1);
    } else {
      const bool found = finds(catalog, n, place);
      ASSERT_EQ(found, model.contains(n)) << step;
      if (found) {
        ASSERT_EQ(place.page, model[n].page);
      }
    }
    if (step % 1000 == 0) {
      ASSERT_EQ(catalog.blocks(), model.size());
    }
  }
}

}  // namespace
}  // namespace reprise::disk
