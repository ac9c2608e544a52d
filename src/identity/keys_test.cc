#include "reprise/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace reprise {
namespace {

using ::testing::ElementsAreArray;

std::vector<std::uint32_t> tokens(std::size_t count) {
  std::vector<std::uint32_t> out(count);
  std::iota(out.begin(), out.end(), 1000U);
  return out;
}

class EachScheme : public ::testing::TestWithParam<KeyScheme> {};

TEST_P(EachScheme, AppendingInAnyPiecesGivesTheSameKeys) {
  std::mt19937 random(3);
  for (const std::uint32_t block_tokens : {1U, 3U, 16U, 300U}) {
    const std::vector<std::uint32_t> all = tokens(2 * block_tokens + 700);
    const auto expected = block_keys(all, block_tokens, GetParam());
    ASSERT_TRUE(expected);
    ASSERT_EQ(expected->size(), all.size() / block_tokens);
    for (int round = 0; round < 20; ++round) {
      KeyChain chain(GetParam(), block_tokens);
      std::span<const std::uint32_t> rest = all;
      while (!rest.empty()) {
        const std::size_t piece = std::min<std::size_t>(rest.size(), random() % (2 * block_tokens + 1));
        chain.append(rest.first(piece));
        rest = rest.subspan(piece);
      }
      ASSERT_THAT(chain.keys(), ElementsAreArray(*expected));
      const std::size_t left = all.size() % block_tokens;
      ASSERT_THAT(chain.tail(), ElementsAreArray(std::span(all).last(left)));
    }
  }
}

TEST_P(EachScheme, AKeyCoversEverythingBeforeItAndNothingAfter) {
  std::vector<std::uint32_t> changed = tokens(64);
  const auto before = block_keys(changed, 16, GetParam());
  changed[20] ^= 0x80000000;
  const auto after = block_keys(changed, 16, GetParam());
  EXPECT_EQ((*before)[0], (*after)[0]);
  for (int i = 1; i < 4; ++i) EXPECT_NE((*before)[i], (*after)[i]);
}

TEST_P(EachScheme, TheSameBlockTwiceHasTwoKeys) {
  const std::vector<std::uint32_t> same(64, 7);
  const auto keys = block_keys(same, 16, GetParam());
  EXPECT_NE((*keys)[0], (*keys)[1]);
  EXPECT_NE((*keys)[1], (*keys)[2]);
}

TEST_P(EachScheme, FewerTokensThanABlockHaveNoKey) {
  EXPECT_TRUE(block_keys(tokens(15), 16, GetParam())->empty());
  EXPECT_TRUE(block_keys({}, 16, GetParam())->empty());
}

const char* name_of(const ::testing::TestParamInfo<KeyScheme>& scheme) {
  switch (scheme.param) {
    case KeyScheme::kSha256: return "sha256";
    case KeyScheme::kXxh3: return "xxh3";
    case KeyScheme::kFarmRolling: return "farm_rolling";
    case KeyScheme::kFarmSimple: return "farm_simple";
  }
  return "";
}
INSTANTIATE_TEST_SUITE_P(Schemes, EachScheme,
                         ::testing::Values(KeyScheme::kSha256, KeyScheme::kXxh3, KeyScheme::kFarmRolling,
                                           KeyScheme::kFarmSimple),
                         &name_of);

TEST(Keys, BlockTokensOfZeroIsAnError) {
  const auto keys = block_keys(tokens(4), 0);
  ASSERT_FALSE(keys);
  EXPECT_EQ(keys.error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace reprise
