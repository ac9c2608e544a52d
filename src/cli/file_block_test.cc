#include "cli/file_block.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace reprise::cli {
namespace {

std::vector<std::byte> sealed(std::size_t size, std::size_t used, bool last) {
  std::vector<std::byte> block(size, std::byte{0xEE});
  for (std::size_t i = 0; i < used; ++i) block[kFileBlockHeader + i] = static_cast<std::byte>(i);
  seal_file_block(block, 7, 99, used, last);
  return block;
}

TEST(FileBlock, IsReadBack) {
  for (const std::size_t used : {std::size_t{0}, std::size_t{1}, std::size_t{60}}) {
    const auto block = sealed(100, used, used == 1);
    const auto read = read_file_block(block);
    ASSERT_TRUE(read.has_value()) << used;
    EXPECT_EQ(read->index, 7U);
    EXPECT_EQ(read->writing, 99U);
    EXPECT_EQ(read->last, used == 1);
    ASSERT_EQ(read->content.size(), used);
    EXPECT_TRUE(used == 0 || read->content.back() == static_cast<std::byte>(used - 1));
    for (std::size_t i = kFileBlockHeader + used; i < block.size(); ++i) EXPECT_EQ(block[i], std::byte{0}) << i;
  }
}

TEST(FileBlock, IsRefusedWhenDamaged) {
  const auto good = sealed(100, 30, false);
  for (const std::size_t at : {std::size_t{0}, std::size_t{24}, std::size_t{31}, std::size_t{33}, std::size_t{50}}) {
    auto bad = good;
    bad[at] ^= std::byte{0x40};
    EXPECT_FALSE(read_file_block(bad).has_value()) << at;
  }
  EXPECT_FALSE(read_file_block(Bytes(good).first(kFileBlockHeader - 1)).has_value());
  EXPECT_FALSE(read_file_block(Bytes(good).first(kFileBlockHeader + 29)).has_value());
  EXPECT_TRUE(read_file_block(Bytes(good).first(kFileBlockHeader + 30)).has_value());
  EXPECT_FALSE(read_file_block({}).has_value());
}

}  // namespace
}  // namespace reprise::cli
