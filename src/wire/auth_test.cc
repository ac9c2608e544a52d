#include "wire/auth.h"

#include <gtest/gtest.h>

namespace reprise::wire {
namespace {

TEST(Auth, AProofDependsOnEverythingItCovers) {
  Nonce a{};
  Nonce b{};
  b[31] = 1;
  const std::string secret(32, 's');
  const Proof proof = prove(Side::kClient, secret, "engine-1", a, b);
  EXPECT_EQ(proof, prove(Side::kClient, secret, "engine-1", a, b));
  EXPECT_NE(proof, prove(Side::kServer, secret, "engine-1", a, b));
  EXPECT_NE(proof, prove(Side::kClient, secret + "x", "engine-1", a, b));
  EXPECT_NE(proof, prove(Side::kClient, secret, "engine-2", a, b));
  EXPECT_NE(proof, prove(Side::kClient, secret, "engine-1", b, a));
  EXPECT_TRUE(same_proof(proof, std::as_bytes(std::span(proof))));
  EXPECT_FALSE(same_proof(proof, std::as_bytes(std::span(proof).first(31))));
  EXPECT_FALSE(same_proof(proof, {}));
}

TEST(Auth, NoncesDiffer) {
  EXPECT_NE(make_nonce().value(), make_nonce().value());
}

TEST(Auth, CredentialsAreParsed) {
  const auto good = parse_credential("  engine-1:0123456789abcdef:x\n");
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(good->key_id, "engine-1");
  EXPECT_EQ(good->secret, "0123456789abcdef:x");
  for (const char* bad : {"", ":0123456789abcdef", "engine-1", "engine-1:short"}) {
    EXPECT_FALSE(parse_credential(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace reprise::wire
