#include "cli/block_content.h"

#include <gtest/gtest.h>

#include <vector>

namespace reprise::cli {
namespace {

// SHA-256 of eight zero bytes, computed with an independent tool (printf '\0\0\0\0\0\0\0\0' | sha256sum).
TEST(TraceBlockKey, IsTheHashOfTheId) {
  EXPECT_EQ(trace_block_key(0).hex(), "af5570f5a1810b7af78caf4bc70a660f");
  EXPECT_NE(trace_block_key(1), trace_block_key(256));
}

class BlockContent : public ::testing::TestWithParam<std::size_t> {
 protected:
  const BlockKey key_ = trace_block_key(46);
};

TEST_P(BlockContent, IsAcceptedAsItWasMade) {
  std::vector<std::byte> block(GetParam());
  fill_block(key_, block);
  EXPECT_EQ(first_wrong_byte(key_, block), std::nullopt);
}

TEST_P(BlockContent, EveryFlippedBitIsReportedAtItsByte) {
  std::vector<std::byte> block(GetParam());
  fill_block(key_, block);
  for (std::size_t at = 0; at < block.size(); ++at) {
    const std::byte flip{static_cast<unsigned char>(1U << (at % 8))};
    block[at] ^= flip;
    EXPECT_EQ(first_wrong_byte(key_, block), at);
    block[at] ^= flip;
  }
}

TEST_P(BlockContent, AnotherBlocksBytesAreReported) {
  std::vector<std::byte> block(GetParam());
  fill_block(trace_block_key(47), block);
  EXPECT_NE(first_wrong_byte(key_, block), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Sizes, BlockContent, ::testing::Values(3, 8, 63, 64, 65, 200, 4096, 4099));

TEST(BlockContentShift, ABlockShiftedAgainstItselfIsReported) {
  const BlockKey key = trace_block_key(5);
  std::vector<std::byte> block(8192);
  fill_block(key, block);
  EXPECT_NE(first_wrong_byte(key, Bytes(block).subspan(4096)), std::nullopt);
  EXPECT_NE(first_wrong_byte(key, std::vector<std::byte>(4096)), std::nullopt);
}

}  // namespace
}  // namespace reprise::cli
