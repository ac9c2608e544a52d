// Policy-only replay: what share of a trace's blocks a policy would find at a capacity, without moving a byte.
//
// Each request is one acquire of its leading resident blocks and one put of the rest, driving the EvictionPolicy
// exactly as the memory cache does for one caller. A replay owns all it uses; several may run on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reprise/eviction.h"
#include "reprise/status.h"
#include "sim/trace.h"

namespace reprise::sim {

struct ReplayOptions {
  std::string policy = "adaptive";    ///< A name in the registry.
  std::uint64_t capacity_blocks = 0;  ///< Blocks kept; 0 keeps nothing.
  std::uint32_t block_tokens = 512;   ///< Tokens a block stands for.
  std::uint64_t salt = 1;             ///< PolicyConfig::salt.
  std::uint64_t horizon_blocks = 0;   ///< PolicyConfig::horizon_blocks; 0 = 2^26 tokens / block_tokens.
  std::uint32_t windows = 0;          ///< Cut the requests into this many windows of equal count; 0 = none.
  /// Called now and then (about 100 times) and at the end, on the calling thread.
  std::function<void(std::uint64_t requests_done, std::uint64_t requests_total)> progress;
};

/// A stretch of consecutive requests.
struct ReplayWindow {
  double start_ms = 0;  ///< Timestamp of its first request.
  std::uint64_t requests = 0;
  std::uint64_t blocks = 0;      ///< Block references.
  std::uint64_t hit_blocks = 0;  ///< Of them found, as leading run.
  [[nodiscard]] double hit_ratio() const { return blocks == 0 ? 0 : double(hit_blocks) / double(blocks); }
};

struct ReplayResult {
  std::uint64_t requests = 0;
  std::uint64_t blocks = 0;      ///< Block references: the sum of the chains' lengths.
  std::uint64_t hit_blocks = 0;  ///< Prefix hits: leading blocks found.
  std::uint64_t tokens = 0;      ///< Sum of input_length.
  std::uint64_t hit_tokens = 0;  ///< Tokens of the blocks found; a partial last block counts what it holds.
  std::uint64_t hot_blocks = 0;  ///< Times the policy reported a block as hot.
  std::uint64_t inserted = 0;    ///< Blocks offered to the policy, declined ones included.
  std::uint64_t declined = 0;    ///< Newcomers that were their own put's victims.
  std::uint64_t evictions = 0;   ///< Other victims.
  std::uint64_t resident = 0;    ///< Blocks held at the end.
  std::vector<ReplayWindow> windows;

  [[nodiscard]] double hit_ratio() const { return blocks == 0 ? 0 : double(hit_blocks) / double(blocks); }
  [[nodiscard]] double token_hit_ratio() const { return tokens == 0 ? 0 : double(hit_tokens) / double(tokens); }
};

/// Replays all requests through a fresh cache. Fails with kConfig for an unknown policy or more slots than can be named
/// (capacity plus longest chain must stay below 2^32), kInternal when the policy breaks its contract.
[[nodiscard]] Result<ReplayResult> replay(std::span<const Request> requests, const ReplayOptions& options,
                                          const PolicyRegistry& registry);

}  // namespace reprise::sim
