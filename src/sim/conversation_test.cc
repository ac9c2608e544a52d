// What the policies reach on real traffic: bench/traces/conversation_trace.jsonl.zst.
#include <gtest/gtest.h>

#include <array>

#include "bench/policies/trace_file.h"
#include "sim/replay.h"

namespace reprise::sim {
namespace {

// Sanitizers cost tenfold: they see two salts at four capacities, with room for the noise of few salts.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

class Conversation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    trace_ = new std::vector<Request>(bench::read_trace(REPRISE_TRACES "/conversation_trace.jsonl.zst"));
  }
  static void TearDownTestSuite() { delete trace_; }

  static ReplayResult run(const char* policy, std::uint64_t capacity, std::uint64_t salt = 1) {
    ReplayOptions options;
    options.policy = policy;
    options.capacity_blocks = capacity;
    options.salt = salt;
    return replay(*trace_, options, PolicyRegistry::with_builtins()).value();
  }

  static inline std::vector<Request>* trace_ = nullptr;  // GoogleTest offers nothing but statics to share.
};

TEST_F(Conversation, IsTheTraceWeKnow) {
  const ReplayResult infinite = run("lru", 1'000'000);
  EXPECT_EQ(infinite.requests, 12'031U);
  EXPECT_EQ(infinite.blocks, 288'500U);
  EXPECT_EQ(infinite.inserted, 182'790U);
  EXPECT_NEAR(infinite.hit_ratio(), 0.3664, 0.00005);
}

TEST_F(Conversation, LruIsExact) {
  constexpr std::array<std::pair<std::uint64_t, double>, 4> kKnown{
      {{1'000, 0.0445}, {5'000, 0.1118}, {10'000, 0.2116}, {30'000, 0.3257}}};
  for (const auto& [capacity, known] : kKnown) EXPECT_NEAR(run("lru", capacity).hit_ratio(), known, 0.0001);
}

// One figure each, to notice when they change.
TEST_F(Conversation, FifoAndS3FifoAreWhatTheyWere) {
  EXPECT_NEAR(run("fifo", 5'000).hit_ratio(), 0.1061, 0.0001);
  EXPECT_NEAR(run("s3fifo", 5'000).hit_ratio(), 0.1180, 0.0001);
}

TEST_F(Conversation, AdaptiveReachesItsBar) {
  constexpr std::array<std::pair<std::uint64_t, double>, 8> kBar{{{500, .060},
                                                                  {1'000, .077},
                                                                  {2'000, .110},
                                                                  {5'000, .171},
                                                                  {10'000, .228},
                                                                  {20'000, .297},
                                                                  {30'000, .328},
                                                                  {50'000, .354}}};
  const std::uint64_t salts = kSanitized ? 2 : 8;
  for (std::size_t i = 0; i < kBar.size(); i += kSanitized ? 2 : 1) {
    const auto& [capacity, bar] = kBar[i];
    double sum = 0;
    for (std::uint64_t salt = 0; salt < salts; ++salt) sum += run("adaptive", capacity, salt).hit_ratio();
    EXPECT_GE(sum / double(salts), bar - (kSanitized ? 0.004 : 0)) << "at " << capacity;
  }
}

}  // namespace
}  // namespace reprise::sim
