#include "base/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/kernels_impl.h"

namespace reprise {
namespace {

constexpr std::byte kGuard{0xA5};

std::vector<const kernels::KernelSet*> sets() {
  std::size_t count = 0;
  const kernels::KernelSet* const* all = kernels::supported_kernels(&count);
  return {all, all + count};
}

std::vector<std::byte> noise(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::mt19937_64 random(size + 7);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// Sizes around every border the kernels know: XXH3's formulas, stripes, 1 KiB blocks, streaming; and a sample.
std::set<std::size_t> sizes() {
  std::set<std::size_t> out;
  for (std::size_t s = 0; s <= 2200; ++s) out.insert(s);
  for (std::size_t kib : {3, 4, 16, 32, 64, 68, 256, 257, 300, 1024}) {
    for (std::size_t d : {0, 1, 8, 31, 63, 64, 65, 127, 960, 1023}) {
      out.insert(kib * 1024 + d);
      out.insert(kib * 1024 - d);
    }
  }
  for (std::size_t s = 2201; s <= 70'000; s += 997) out.insert(s);
  return out;
}

class EachKernelSet : public ::testing::TestWithParam<const kernels::KernelSet*> {};

TEST_P(EachKernelSet, ChecksumEqualsXxh3) {
  const std::vector<std::byte> source = noise(1 << 21);
  for (const std::size_t size : sizes()) {
    for (const std::size_t shift : {0, 1, 13, 32}) {
      const std::byte* from = source.data() + shift;
      ASSERT_EQ(GetParam()->checksum(from, size), XXH3_64bits(from, size)) << size << " bytes, shifted by " << shift;
    }
  }
}

TEST_P(EachKernelSet, ChecksumOfPiecesEqualsThatOfTheWhole) {
  const std::vector<std::byte> source = noise(300'000);
  alignas(64) std::byte state[kernels::kStreamStateBytes];
  for (const std::size_t piece : {1, 63, 64, 1000, 4096, 65'537}) {
    for (const std::size_t size : {0, 1, 240, 241, 1025, 40'000}) {
      GetParam()->stream_start(state);
      for (std::size_t at = 0; at < size; at += piece) {
        GetParam()->stream_add(state, source.data() + at, std::min(piece, size - at));
      }
      ASSERT_EQ(GetParam()->stream_value(state), XXH3_64bits(source.data(), size)) << size << " by " << piece;
    }
  }
}

TEST(RunningChecksumTest, StartsAgain) {
  const std::vector<std::byte> source = noise(5000);
  RunningChecksum sum;
  sum.add(Bytes(source).first(100));
  sum.restart();
  sum.add(Bytes(source).first(3000));
  sum.add(Bytes(source).subspan(3000));
  EXPECT_EQ(sum.value(), checksum(source));
}

TEST_P(EachKernelSet, CopiesEveryByteAndNoOther) {
  const std::vector<std::byte> source = noise(1 << 21);
  std::vector<std::byte> target(1 << 21);
  for (const auto how : {"copy", "stream", "copy and sum"}) {
    for (const std::size_t size : sizes()) {
      for (const auto& [in, out] : {std::pair{0, 64}, {1, 64}, {0, 65}, {33, 127}}) {
        const std::byte* from = source.data() + in;
        std::byte* to = target.data() + out;
        std::memset(target.data(), static_cast<int>(kGuard), size + 256);
        if (how == std::string_view("copy")) {
          GetParam()->copy(to, from, size);
        } else if (how == std::string_view("stream")) {
          GetParam()->stream(to, from, size);
          GetParam()->fence();
        } else {
          ASSERT_EQ(GetParam()->copy_checksum(to, from, size), XXH3_64bits(from, size)) << size << " bytes";
        }
        ASSERT_EQ(std::memcmp(to, from, size), 0) << size << " bytes, in+" << in << " out+" << out;
        ASSERT_EQ(to[-1], kGuard) << size;
        for (std::size_t i = 0; i < 64; ++i) ASSERT_EQ(to[size + i], kGuard) << size << " bytes, in+" << in;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EachKernelSet, ::testing::ValuesIn(sets()),
                         [](const auto& set) { return std::string(set.param->name); });

TEST(Kernels, TheBestSetTheCpuRunsIsUsed) {
  EXPECT_EQ(kernel_name(), sets().back()->name);
  EXPECT_THAT(std::string(kernel_name()), ::testing::AnyOf("sse2", "avx2", "avx512", "portable"));
}

// Published by xxHash's own self-test (xsum_sanity_check.c): keeps the checksum stored on disks what it is.
TEST(Kernels, ChecksumOfNothingIsXxh3sConstant) {
  EXPECT_EQ(checksum({}), 0x2D06800538D394C2ULL);
  EXPECT_EQ(copy_block_checksum({}, {}), 0x2D06800538D394C2ULL);
  copy_block({}, {});
  copy_part({}, {}, 1 << 20);
}

}  // namespace
}  // namespace reprise
