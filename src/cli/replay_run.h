// One replay of a trace: one policy at one capacity. With bytes it goes through a real cache and checks every byte that
// comes back; without, through the policy alone (src/sim). Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cli/replay_result.h"
#include "cli/services.h"
#include "reprise/options.h"
#include "sim/trace_reader.h"

namespace reprise::cli {

struct ReplayConfig {
  std::string trace;
  std::string cache_url = "embedded:";
  CacheOptions cache;  ///< Of an embedded cache, the runner sets capacity and policy from the three fields below.
  std::string policy;
  std::uint64_t capacity_blocks = 0;
  std::uint64_t block_bytes = 4096;
  sim::TraceLimits limits;
  double pace = 0;                 ///< Arrival times are divided by it; 0 = as fast as possible.
  std::uint64_t max_requests = 0;  ///< 0 = all.
  bool strict = false;             ///< A malformed line is an error.
  std::string salt;                ///< Of the namespace: runs of the same salt share what a persistent tier holds.
  std::uint64_t flip_block =
      0;  ///< Damages one byte of the n-th block offered, from 1; 0 = none. For testing the check.
};

struct ReplayProgress {
  double share = 0;  ///< Of the trace, 0 to 1.
  HitCounts counts;
  std::uint64_t moved_bytes = 0;
};

struct ReplayHooks {
  std::function<void(const ReplayProgress&)> progress;  ///< Called often; the receiver decides when to draw.
  std::function<void(const sim::BadLine&)> bad_line;    ///< Of lines that are skipped.
  std::function<void(const std::string&)> wrong_block;  ///< Once for each block whose bytes are not what was put.
  const StopFlag* stop = nullptr;
};

/// Fails with kConfig when the cache cannot be opened so, kIo when the trace cannot be read, kInvalid for a malformed
/// line under `strict`. Wrong bytes are part of the result.
[[nodiscard]] Result<ReplayResult> replay_with_bytes(const ReplayConfig& config, const Services& services,
                                                     const ReplayHooks& hooks);
[[nodiscard]] Result<ReplayResult> replay_policy_only(const ReplayConfig& config, const Services& services,
                                                      const ReplayHooks& hooks);

}  // namespace reprise::cli
