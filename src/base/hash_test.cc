#include "base/hash.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>

namespace reprise {
namespace {

TEST(Hash, Mix64IsSplitMix64sFinaliser) {
  // The first output of SplitMix64 seeded with 0, whose state is then this constant.
  EXPECT_EQ(mix64(0x9E3779B97F4A7C15ULL), 0xE220A8397B1DCDAFULL);
}

// Keys of trusted engines may differ in one bit only; every bit of the hash must notice.
TEST(Hash, EveryBitOfABlocksNameReachesEveryBitOfItsHash) {
  int flips[64] = {};
  for (int bit = 0; bit < 256; ++bit) {
    NamespaceId ns;
    BlockKey key;
    const std::uint64_t before = hash_block(ns, key);
    (bit < 128 ? ns.bytes : key.bytes)[bit / 8 % 16] ^= static_cast<std::uint8_t>(1 << bit % 8);
    const std::uint64_t changed = before ^ hash_block(ns, key);
    EXPECT_GT(std::popcount(changed), 12) << bit;
    for (int i = 0; i < 64; ++i) flips[i] += static_cast<int>(changed >> i & 1);
  }
  for (const int count : flips) EXPECT_NEAR(count, 128, 48);
}

TEST(Hash, NamespaceAndKeyAreNotInterchangeable) {
  const auto a = NamespaceId::from_words(1, 2);
  const auto b = NamespaceId::from_words(3, 4);
  EXPECT_NE(hash_block(a, BlockKey::from_words(3, 4)), hash_block(b, BlockKey::from_words(1, 2)));
}

}  // namespace
}  // namespace reprise
