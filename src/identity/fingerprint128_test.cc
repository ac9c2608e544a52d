#include "identity/fingerprint128.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "reprise/keys.h"

namespace reprise {
namespace {

std::vector<std::string> keys_of(KeyScheme scheme) {
  std::vector<std::uint32_t> tokens(64);
  std::iota(tokens.begin(), tokens.end(), 0U);
  const auto keys = block_keys(tokens, 16, scheme);
  std::vector<std::string> hex;
  for (const BlockKey& key : *keys) hex.push_back(key.hex());
  return hex;
}

// Of the library itself, not of this code or of scripts/golden_identity.py.
TEST(Fingerprint128, IsFarmHashs) {
  EXPECT_EQ(keys_of(KeyScheme::kFarmRolling),
            (std::vector<std::string>{"cf1cb24e52df6d5af4f404786f434895", "65da3584bc4484fecdd2c1e7f119d5c3",
                                      "7c9a5f3fec2af26506af3df6b5c79edc", "92031f13820fa442dddcaa5f810f8b7f"}));
  EXPECT_EQ(keys_of(KeyScheme::kFarmSimple),
            (std::vector<std::string>{"cf1cb24e52df6d5af4f404786f434895", "e2615b145895b0ea8929e7041f5ca2dc",
                                      "0abd5dcf249526492c251c3455370f68", "3dcaef08243641b2e358fcc44723ec3d"}));
}

TEST(Fingerprint128, ChainsModulo2To128) {
  const Fingerprint small = chain_fingerprints({0, 1}, {0, 2});
  EXPECT_EQ(small.first, 0x1000277000000ULL);
  EXPECT_EQ(small.second, 0x13b0184d4ULL);
  const Fingerprint large = chain_fingerprints({~0ULL, ~0ULL}, {1ULL << 63, 5});
  EXPECT_EQ(large.first, 0xd000fffd85000000ULL);
  EXPECT_EQ(large.second, 0x13afe7640ULL);
}

}  // namespace
}  // namespace reprise
