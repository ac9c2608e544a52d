#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reprise/keys.h"

namespace reprise {
namespace {

using ::testing::HasSubstr;

Result<BlockKey> from_hash(std::string_view algorithm, const std::string& hash, bool trust = false) {
  return key_from_hash(algorithm, std::as_bytes(std::span(hash)), trust);
}

TEST(KeyFromHash, OnlyLongCryptographicHashesAreTakenOnTrustOfNobody) {
  for (const char* name : {"sha256", "sha256_cbor", "sha512", "blake3", "blake2b", "sha3_256"}) {
    EXPECT_TRUE(from_hash(name, std::string(32, 'h'))) << name;
    EXPECT_TRUE(from_hash(name, std::string(17, 'h'))) << name;
    const auto shortened = from_hash(name, std::string(16, 'h'));
    ASSERT_FALSE(shortened) << name;
    EXPECT_EQ(shortened.error().code, ErrorCode::kDenied);
    EXPECT_THAT(shortened.error().message, HasSubstr("trust_hashes"));
    EXPECT_TRUE(from_hash(name, std::string(16, 'h'), true)) << name;
  }
  for (const char* name : {"xxhash", "xxhash_cbor", "builtin", "md5", "sha1", "murmur3", "sha256_cbor_64bit"}) {
    const auto weak = from_hash(name, std::string(32, 'h'));
    ASSERT_FALSE(weak) << name;
    EXPECT_EQ(weak.error().code, ErrorCode::kDenied) << name;
    EXPECT_TRUE(from_hash(name, std::string(32, 'h'), true)) << name;
  }
}

TEST(KeyFromHash, AlgorithmAndHashBothCountAndDoNotRunTogether) {
  const auto key = [](std::string_view algorithm, const std::string& hash) {
    return from_hash(algorithm, hash, true).value().hex();
  };
  EXPECT_NE(key("sha256", std::string(32, 'h')), key("sha512", std::string(32, 'h')));
  EXPECT_NE(key("sha256", std::string(32, 'h')), key("sha256", std::string(33, 'h')));
  EXPECT_NE(key("ab", "c" + std::string(20, 'h')), key("abc", std::string(20, 'h')));
}

TEST(KeyFromHash, WhatIsNoNameOrNoHashIsInvalidEvenIfTrusted) {
  EXPECT_EQ(from_hash("", std::string(32, 'h'), true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hash("SHA256", std::string(32, 'h'), true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hash(std::string(65, 'a'), std::string(32, 'h'), true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hash("sha256", "", true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hash("sha256", std::string(1025, 'h'), true).error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(from_hash(std::string(64, 'a'), std::string(1024, 'h'), true));
}

Result<std::vector<BlockKey>> from_hashes(const std::vector<std::string>& hashes, std::size_t group, bool trust = false,
                                          std::string_view algorithm = "sha256") {
  std::vector<Bytes> bytes;
  for (const std::string& hash : hashes) bytes.push_back(std::as_bytes(std::span(hash)));
  return keys_from_hashes(algorithm, bytes, group, trust);
}

TEST(KeysFromHashes, AGroupIsOneHashOfAllItsBytes) {
  std::vector<std::string> hashes;
  for (char c = 'a'; c < 'h'; ++c) hashes.emplace_back(32, c);
  for (const std::size_t group : {1U, 2U, 3U, 7U}) {
    const auto keys = from_hashes(hashes, group);
    ASSERT_TRUE(keys);
    ASSERT_EQ(keys->size(), hashes.size() / group);  // an incomplete last group has none
    for (std::size_t k = 0; k < keys->size(); ++k) {
      std::string joined;
      for (std::size_t i = 0; i < group; ++i) joined += hashes[k * group + i];
      EXPECT_EQ((*keys)[k], from_hash("sha256", joined).value()) << group << " " << k;
    }
  }
  EXPECT_TRUE(from_hashes(hashes, 8)->empty());
  EXPECT_TRUE(from_hashes({}, 1)->empty());
}

TEST(KeysFromHashes, WhatOneHashMayNotBeAGroupMayNotHold) {
  const std::string good(32, 'h');
  const std::string weak(16, 'h');  // a group of two would have bytes enough
  const auto refused = from_hashes({good, good, weak, weak}, 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDenied);
  EXPECT_THAT(refused.error().message, HasSubstr("hashes[2]: "));
  EXPECT_TRUE(from_hashes({good, good, weak, weak}, 2, true));
  EXPECT_EQ(from_hashes({good, ""}, 1, true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hashes({good}, 0, true).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(from_hashes({good}, 1, false, "xxhash").error().code, ErrorCode::kDenied);
  EXPECT_EQ(from_hashes({good}, 1, true, "no name").error().code, ErrorCode::kInvalid);
}

TEST(KeysFromHashes, BordersInsideAGroupCannotBeMovedWithoutTrust) {
  const auto moved = from_hashes({std::string(32, 'h'), std::string(33, 'h')}, 2);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(moved.error().message, HasSubstr("hashes[1] has 33 bytes"));
  EXPECT_TRUE(from_hashes({std::string(32, 'h'), std::string(33, 'h')}, 2, true));
  EXPECT_TRUE(from_hashes({std::string(32, 'h'), std::string(33, 'h')}, 1));
}

}  // namespace
}  // namespace reprise
