#include "sim/workloads.h"

#include <gtest/gtest.h>

#include <map>

#include "sim/replay.h"

// Sanitizers cost tenfold: they see one seed instead of five.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REPRISE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REPRISE_SANITIZED 1
#endif
#endif

namespace reprise::sim {
namespace {

#ifdef REPRISE_SANITIZED
constexpr std::uint64_t kSeeds = 1;
constexpr double kAllowance = 0.010;
#else
constexpr std::uint64_t kSeeds = 5;
constexpr double kAllowance = 0.006;
#endif

double ratio(std::span<const Request> requests, const char* policy, std::uint64_t capacity, std::uint64_t salt) {
  ReplayOptions options;
  options.policy = policy;
  options.capacity_blocks = capacity;
  options.salt = salt;
  return replay(requests, options, PolicyRegistry::with_builtins()).value().hit_ratio();
}

TEST(Workloads, SeedsNameThem) {
  for (const Workload& workload : workloads()) {
    const auto one = workload.generate(1);
    const auto same = workload.generate(1);
    const auto other = workload.generate(2);
    ASSERT_EQ(one.size(), same.size()) << workload.name;
    bool differs = one.size() != other.size();
    for (std::size_t i = 0; i < one.size(); ++i) {
      ASSERT_EQ(one[i].hash_ids, same[i].hash_ids);
      differs |= i < other.size() && one[i].hash_ids != other[i].hash_ids;
    }
    EXPECT_TRUE(differs) << workload.name;
  }
}

// Equal ids mean equal prefixes: a block has one predecessor, wherever it appears.
TEST(Workloads, AreChains) {
  for (const Workload& workload : workloads()) {
    std::map<std::uint64_t, std::uint64_t> before;
    std::uint64_t blocks = 0;
    double last_ms = 0;
    for (const Request& request : workload.generate(3)) {
      EXPECT_GE(request.timestamp_ms, last_ms);
      last_ms = request.timestamp_ms;
      std::uint64_t previous = ~0ULL;
      for (const std::uint64_t id : request.hash_ids) {
        ASSERT_EQ(before.try_emplace(id, previous).first->second, previous) << workload.name;
        previous = id;
      }
      blocks += request.hash_ids.size();
    }
    EXPECT_GE(blocks, 200'000U) << workload.name;
    EXPECT_LE(blocks, 400'000U) << workload.name;
  }
}

TEST(Workloads, AdaptiveIsNotUnderLru) {
  for (const Workload& workload : workloads()) {
    for (const std::uint64_t capacity : workload.capacities) {
      double gain = 0;
      for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        const auto requests = workload.generate(seed);
        gain += ratio(requests, "adaptive", capacity, seed) - ratio(requests, "lru", capacity, seed);
      }
      EXPECT_GE(gain / double(kSeeds), -kAllowance) << workload.name << " at " << capacity;
    }
  }
}

TEST(Workloads, AdaptiveSeesThroughScansAndLoops) {
  EXPECT_GT(ratio(scan_and_hot_set(1), "adaptive", 2'500, 1), ratio(scan_and_hot_set(1), "lru", 2'500, 1) + 0.15);
  EXPECT_GT(ratio(loop(1), "adaptive", 5'000, 1), 0.4);
  EXPECT_LT(ratio(loop(1), "lru", 5'000, 1), 0.01);
}

}  // namespace
}  // namespace reprise::sim
