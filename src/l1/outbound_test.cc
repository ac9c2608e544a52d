// What leaves L1 for L2: blocks being written out, blocks handed over as they are evicted or turn hot, and the memory
// of blocks in transit.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/kernels.h"
#include "l1/memory_cache.h"
#include "l1/test_util.h"

namespace reprise {
namespace {

using l1_test::has;
using l1_test::holds_block;
using l1_test::key_of;
using l1_test::keys_from;
using l1_test::pin;
using l1_test::put;
using l1_test::put_one;
using l1_test::TestCache;
using ::testing::Each;

constexpr std::uint64_t kBlock = 4096;

MemoryCacheOptions room_for(std::uint64_t blocks, std::uint64_t in_transit = 0) {
  return {.capacity = blocks * kBlock, .transit_bytes = in_transit * kBlock};
}

class OutboundTest : public ::testing::Test {
 protected:
  const Namespace ns_ = l1_test::make_namespace(kBlock);
};

TEST_F(OutboundTest, ABlockBeingWrittenOutIsEvictedAndItsMemoryGoesWhenTheWriteEnds) {
  TestCache cache(room_for(1, 1));
  const BlockKey key = key_of(1);
  put_one(*cache, ns_, key);
  Pins outbound = cache->begin_outbound(pin(cache.cache, ns_, std::span(&key, 1)).blocks());
  ASSERT_EQ(outbound.size(), 1);
  EXPECT_EQ(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
  EXPECT_FALSE(has(*cache, ns_, key));
  EXPECT_EQ(cache.checked().transit, 1);
  EXPECT_TRUE(holds_block(outbound[0], ns_.id(), key));
  EXPECT_EQ(cache->id(outbound[0]), (BlockId{ns_.id(), key}));
  cache->end_outbound(outbound.take(0), true);
  EXPECT_EQ(cache.checked().transit, 0);
}

TEST_F(OutboundTest, WithoutRoomInTransitABlockBeingWrittenOutStays) {
  TestCache cache(room_for(1, 0));
  const BlockKey key = key_of(1);
  put_one(*cache, ns_, key);
  Pins outbound = cache->begin_outbound(pin(cache.cache, ns_, std::span(&key, 1)).blocks());
  EXPECT_NE(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
  cache->end_outbound(outbound.take(0), true);
  EXPECT_EQ(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
}

TEST_F(OutboundTest, AReaderKeepsABlockThatIsBeingWrittenOut) {
  TestCache cache(room_for(1, 4));
  const BlockKey key = key_of(1);
  put_one(*cache, ns_, key);
  Pins reader = pin(cache.cache, ns_, std::span(&key, 1));
  Pins outbound = cache->begin_outbound(reader.blocks());
  EXPECT_NE(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
  EXPECT_TRUE(has(*cache, ns_, key));
  cache->end_outbound(outbound.take(0), true);
}

TEST_F(OutboundTest, ABlockGoesOutOnce) {
  TestCache cache(room_for(2));
  const auto keys = keys_from(0, 2);
  put(*cache, ns_, keys);
  const Pins pins = pin(cache.cache, ns_, keys);
  Pins first = cache->begin_outbound(pins.blocks());
  EXPECT_EQ(first.size(), 2);
  EXPECT_TRUE(cache->begin_outbound(pins.blocks()).empty()) << "on their way";
  cache->end_outbound(first.take(0), true);
  cache->end_outbound(first.take(1), false);
  Pins second = cache->begin_outbound(pins.blocks());
  ASSERT_EQ(second.size(), 1) << "the one that failed may try again";
  EXPECT_EQ(cache->id(second[0]).key, keys[1]);
  cache->end_outbound(second.take(0), true);
}

// The write to L2 ends, and somebody took the block over from it, between the filter's look and the eviction.
TEST_F(OutboundTest, ABlockTakenOverFromItsWriteWhileItIsEvictedKeepsItsMemory) {
  for (const bool keep_evicted : {false, true}) {
    MemoryCacheOptions options = room_for(1, 1);
    options.keep_evicted = keep_evicted;
    TestCache cache(options);
    const BlockKey key = key_of(1);
    put_one(*cache, ns_, key);
    Pins outbound = cache->begin_outbound(pin(cache.cache, ns_, std::span(&key, 1)).blocks());
    Pins reader(cache.cache);
    cache.notes->after_accept = [&](BlockSlot) {
      if (outbound[0].slot == kNoSlot) return;
      cache->repin(outbound[0]);
      reader.adopt(outbound[0]);
      cache->end_outbound(outbound.take(0), true);
    };
    EXPECT_EQ(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
    ASSERT_EQ(reader.size(), 1);
    EXPECT_TRUE(holds_block(reader[0], ns_.id(), key));
    EXPECT_EQ(cache.checked().transit, 1);
    reader.release();
    EXPECT_EQ(cache.checked().transit, 0);
    EXPECT_EQ(cache.checked().held, 0);
  }
}

TEST_F(OutboundTest, TheWriteMayEndWhileItsBlockIsEvicted) {
  TestCache cache(room_for(1, 1));
  const BlockKey key = key_of(1);
  put_one(*cache, ns_, key);
  Pins outbound = cache->begin_outbound(pin(cache.cache, ns_, std::span(&key, 1)).blocks());
  cache.notes->after_accept = [&](BlockSlot) {
    if (outbound[0].slot != kNoSlot) cache->end_outbound(outbound.take(0), true);
  };
  EXPECT_EQ(put_one(*cache, ns_, key_of(2)), Fate::kAdmitted);
  EXPECT_EQ(cache.checked().transit, 0);
  EXPECT_EQ(cache.checked().visible, 1);
}

TEST_F(OutboundTest, EvictedBlocksAreHandedOverAsFarAsTransitAllows) {
  MemoryCacheOptions options = room_for(4, 2);
  options.keep_evicted = true;
  TestCache cache(options);
  const auto keys = keys_from(0, 4);
  put(*cache, ns_, keys);
  Admission admission = cache->admit(ns_, keys_from(10, 3), 0, 3, true);
  EXPECT_THAT(admission.fates, Each(Fate::kAdmitted));
  Pins& evicted = admission.out.evicted;
  ASSERT_EQ(evicted.size(), 2);
  EXPECT_EQ(cache->dropped_transit(), 1);
  EXPECT_EQ(cache->id(evicted[0]).key, keys[3]);
  EXPECT_EQ(cache->id(evicted[1]).key, keys[2]);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(holds_block(evicted[i], ns_.id(), keys[3 - i]));
    EXPECT_EQ(cache->checksum_of(evicted[i]), checksum(evicted.bytes(i)));
  }
  EXPECT_EQ(cache.checked().transit, 2);
  EXPECT_FALSE(cache->allocate_transit({ns_.id(), key_of(99)}, kBlock)) << "used up";
  evicted.release();
  EXPECT_EQ(cache.checked().transit, 0);
}

TEST_F(OutboundTest, SavedBlocksAreNotHandedOverAgain) {
  MemoryCacheOptions options = room_for(1, 2);
  options.keep_evicted = true;
  TestCache cache(options);
  const BlockKey key = key_of(1);
  Admission first = cache->admit(ns_, std::span(&key, 1), 0, 1, true);
  cache->publish(first.filling[0], 0, true);
  first.filling.release();
  const BlockKey other = key_of(2);
  EXPECT_TRUE(cache->admit(ns_, std::span(&other, 1), 0, 1, true).out.evicted.empty());
  EXPECT_EQ(cache->dropped_transit(), 0);
}

TEST_F(OutboundTest, HotBlocksAreHandedOverOnce) {
  MemoryCacheOptions options = room_for(4, 4);
  options.keep_hot = true;
  TestCache cache(options);  // LRU calls a block hot at its first hit
  const auto keys = keys_from(0, 3);
  put(*cache, ns_, keys);
  const Pins pins = pin(cache.cache, ns_, keys);
  Outflow out = cache->touch(pins.blocks());
  EXPECT_EQ(out.hot.size(), 3);
  EXPECT_TRUE(cache->touch(pins.blocks()).hot.empty());
  EXPECT_TRUE(cache->begin_outbound(pins.blocks()).empty()) << "they are marked as on their way";
  for (std::size_t i = 0; i < 3; ++i) cache->end_outbound(out.hot.take(i), true);
  EXPECT_EQ(cache.checked().held, 3);
}

TEST_F(OutboundTest, TransitMemoryIsBoundedAndComesBack) {
  TestCache cache(room_for(1, 2));
  Pins pins(cache.cache);
  for (std::uint64_t n = 0; n < 2; ++n) {
    const auto block = cache->allocate_transit({ns_.id(), key_of(n)}, kBlock);
    ASSERT_TRUE(block);
    pins.adopt(*block);
    EXPECT_FALSE(has(*cache, ns_, key_of(n)));
  }
  EXPECT_FALSE(cache->allocate_transit({ns_.id(), key_of(2)}, kBlock));
  EXPECT_EQ(cache.checked().transit, 2);
  pins.truncate(1);
  const auto again = cache->allocate_transit({ns_.id(), key_of(2)}, kBlock);
  ASSERT_TRUE(again);
  pins.adopt(*again);
  pins.release();
  EXPECT_EQ(cache.checked().transit, 0);
}

}  // namespace
}  // namespace reprise
