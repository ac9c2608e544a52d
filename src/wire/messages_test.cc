#include "wire/messages.h"

#include <gtest/gtest.h>

#include <string>

#include "testing/chains.h"

namespace reprise::wire {
namespace {

TEST(Messages, ANamespaceComesBackWithTheSameDigest) {
  NamespaceSpec spec = testing::make_namespace(4096).spec();
  spec.extras = {{"rope", "yarn"}, {std::string("lo\0ra", 5), std::string("\0", 1)}};
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, spec));
  const auto* message = read_body<OpenNamespace>(body_of(builder));
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(Namespace::create(spec_of(*message)).value().id(), Namespace::create(spec).value().id());
  spec.salt.reset();
  flatbuffers::FlatBufferBuilder without;
  without.Finish(to_wire(without, spec));
  EXPECT_FALSE(spec_of(*read_body<OpenNamespace>(body_of(without))).salt.has_value());
}

TEST(Messages, AChainComesBack) {
  std::vector<BlockKey> keys;
  for (std::uint64_t i = 0; i < 5; ++i) keys.push_back(BlockKey::from_words(i, ~i));
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, 7, MatchRule::last(3), keys));
  const auto* chain = read_body<Chain>(body_of(builder));
  ASSERT_NE(chain, nullptr);
  EXPECT_EQ(chain->ns(), 7);
  MatchRule rule;
  EXPECT_TRUE(rule_of(*chain, rule));
  EXPECT_EQ(rule, MatchRule::last(3));
  const auto back = keys_of(*chain);
  EXPECT_TRUE(std::ranges::equal(back, keys));
}

TEST(Messages, CountersComeBack) {
  CacheStats stats;
  stats.l1.hits = 1;
  stats.l2.errors = 2;
  stats.l2.name = "disk";
  stats.fixed_bytes = 3;
  stats.reasons.back() = 4;
  stats.populated = 0.5;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, stats));
  const CacheStats back = stats_of(*read_body<Stats>(body_of(builder)));
  EXPECT_EQ(back.l1.hits, 1);
  EXPECT_EQ(back.l2.errors, 2);
  EXPECT_EQ(back.l2.name, "disk");
  EXPECT_EQ(back.fixed_bytes, 3);
  EXPECT_EQ(back.reasons.back(), 4);
  EXPECT_EQ(back.populated, 0.5);
}

TEST(Messages, GarbageIsNoMessage) {
  alignas(8) std::array<std::byte, 64> garbage;
  for (int seed = 0; seed < 256; ++seed) {
    garbage.fill(static_cast<std::byte>(seed));
    EXPECT_EQ(read_body<Chains>(garbage), nullptr);
  }
  EXPECT_EQ(read_body<Chains>({}), nullptr);
}

TEST(Messages, EightByteElementsOutOfLineAreRefused) {
  int accepted = 0;
  for (const std::size_t before : {1, 2}) {
    flatbuffers::FlatBufferBuilder builder;  // Builds from the end.
    builder.CreateVector(std::vector<std::uint32_t>(16, 0));
    // Two elements of four bytes that will be read as two of eight: once in line, once four bytes beside it.
    const auto leases = builder.CreateVector(std::vector<std::uint32_t>{1, 2});
    builder.CreateVector(std::vector<std::uint32_t>(before, 0));
    const auto start = builder.StartTable();
    builder.AddOffset(LeaseIds::VT_LEASES, leases);
    builder.Finish(flatbuffers::Offset<LeaseIds>(builder.EndTable(start)));
    const std::vector<std::byte> body(body_of(builder).begin(), body_of(builder).end());
    accepted += read_body<LeaseIds>(body) != nullptr ? 1 : 0;
  }
  EXPECT_EQ(accepted, 1);
}

TEST(Messages, UnknownNumbersDoNotEscape) {
  EXPECT_EQ(reason_of(200), Reason::kNone);
  EXPECT_EQ(error_of(200), ErrorCode::kInternal);
}

}  // namespace
}  // namespace reprise::wire
