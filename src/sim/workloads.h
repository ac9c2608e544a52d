// Generated workloads: traffic of a known shape, to see where a policy is strong or weak.
//
// A generator is a pure function of its seed: the same requests on every machine. Sizes are part of the workload, and
// so are the capacities it is interesting at. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "sim/trace.h"

namespace reprise::sim {

inline constexpr std::uint32_t kWorkloadBlockTokens = 512;

/// A hot set of 200 prompts of 10 blocks, each time with 2 fresh blocks behind, and as many scans of 12 blocks that
/// never come back. 20,000 requests, 240,000 block references.
[[nodiscard]] std::vector<Request> scan_and_hot_set(std::uint64_t seed);

/// 1,000 prompts of about 10 blocks each, visited in the same order 25 times: LRU's worst case below 10,000 blocks.
[[nodiscard]] std::vector<Request> loop(std::uint64_t seed);

/// Zipf(0.9) over 10,000 prompts of 8 blocks; every 2,000 requests a tenth of the prompts swap their popularity.
/// 30,000 requests, 240,000 block references.
[[nodiscard]] std::vector<Request> shifting_zipf(std::uint64_t seed);

/// Chats, which come back with a longer prompt up to 12 times, after minutes, among one-shot prompts of 10-30 blocks,
/// all behind one of 4 system prompts of 2 blocks. 20,000 requests, about 300,000 block references.
[[nodiscard]] std::vector<Request> two_session_classes(std::uint64_t seed);

/// A window of popular prompts that moves on steadily: a prompt is popular for about 4,000 requests.
/// 30,000 requests of 8 blocks.
[[nodiscard]] std::vector<Request> drift(std::uint64_t seed);

struct Workload {
  std::string_view name;
  std::vector<Request> (*generate)(std::uint64_t seed);
  std::span<const std::uint64_t> capacities;  ///< In blocks.
};

/// All of the above.
[[nodiscard]] std::span<const Workload> workloads();

}  // namespace reprise::sim
