#include "base/stored_block.h"

#include <gtest/gtest.h>

#include <array>

#include "testing/blocks.h"

namespace reprise {
namespace {

using Header = std::array<std::byte, kStoredBlockHeaderBytes>;

StoredBlock sample() {
  return {testing::block_id(7, 3), 12345, 0x1122334455667788, 1'700'000'000};
}
Header encoded(const StoredBlock& block, std::uint32_t version = kStoredBlockVersion) {
  Header header;
  encode_stored_block(block, header, version);
  return header;
}

TEST(StoredBlock, RoundTrip) {
  StoredBlock out;
  ASSERT_EQ(decode_stored_block(encoded(sample()), out), StoredDefect::kNone);
  EXPECT_EQ(out, sample());
}

// The bytes of docs/disk-format.md: whoever changes them orphans every stored block.
TEST(StoredBlock, Golden) {
  StoredBlock block;
  for (std::uint8_t i = 0; i < 16; ++i) {
    block.id.ns.bytes[i] = i;
    block.id.key.bytes[i] = static_cast<std::uint8_t>(0xf0 + i);
  }
  block.length = 0x010203;
  block.checksum = 0x1122334455667788;
  block.written = 0x65000000;
  std::string hex;
  for (const std::byte b : encoded(block)) {
    static constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(b) >> 4];
    hex += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  EXPECT_EQ(hex,
            "52505253424c434b"
            "0100000050000000"
            "838f7b753a37b4a7"
            "000102030405060708090a0b0c0d0e0f"
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
            "0302010000000000"
            "8877665544332211"
            "0000006500000000");
}

TEST(StoredBlock, EveryFlippedBitIsSeen) {
  const Header good = encoded(sample());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Header bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    StoredBlock out;
    ASSERT_EQ(decode_stored_block(bad, out), StoredDefect::kDamaged) << bit;
  }
}

TEST(StoredBlock, TooShortIsDamaged) {
  const Header good = encoded(sample());
  StoredBlock out;
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    ASSERT_EQ(decode_stored_block(Bytes(good).first(bytes), out), StoredDefect::kDamaged) << bytes;
  }
}

TEST(StoredBlock, LengthsOutOfRangeAreDamaged) {
  for (const std::uint64_t length : {std::uint64_t{0}, kMaxStoredBlockBytes + 1, ~std::uint64_t{0}}) {
    StoredBlock block = sample();
    block.length = length;
    StoredBlock out;
    EXPECT_EQ(decode_stored_block(encoded(block), out), StoredDefect::kDamaged) << length;
  }
}

TEST(StoredBlock, Verdicts) {
  StoredBlock out;
  const Header header = encoded(sample());
  EXPECT_EQ(judge_stored_block(header, sample().id, 12345, out), Verdict::kGood);
  EXPECT_EQ(judge_stored_block(header, sample().id, 12344, out), Verdict::kOtherLength);
  EXPECT_EQ(judge_stored_block(header, testing::block_id(8, 3), 12345, out), Verdict::kWrongPlace);
  EXPECT_EQ(judge_stored_block(header, testing::block_id(7, 4), 12345, out), Verdict::kWrongPlace);
  EXPECT_EQ(judge_stored_block(encoded(sample(), 2), sample().id, 12345, out), Verdict::kNewer);
  EXPECT_EQ(judge_stored_block({}, sample().id, 12345, out), Verdict::kDamaged);
}

TEST(StoredBlock, Ages) {
  const StoredBlock block = sample();
  EXPECT_FALSE(outlived(block, block.written + 1'000'000, 0));
  EXPECT_FALSE(outlived(block, block.written + 9, 10));
  EXPECT_TRUE(outlived(block, block.written + 10, 10));
  EXPECT_FALSE(outlived(block, block.written - 100, 10)) << "its writer's clock is ahead";
}

}  // namespace
}  // namespace reprise
