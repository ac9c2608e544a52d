// The policy-only form of a replay: src/sim does the work, this translates.
#include <chrono>
#include <optional>
#include <utility>

#include "cli/replay_run.h"
#include "sim/replay.h"

namespace reprise::cli {
namespace {

constexpr std::uint32_t kWindows = 120;

Result<std::vector<sim::Request>> load(const ReplayConfig& config, const ReplayHooks& hooks, std::uint64_t& skipped) {
  std::optional<Error> refused;
  auto requests = sim::read_trace(
      config.trace, config.limits,
      [&](const sim::BadLine& bad) {
        if (config.strict) {
          refused = Error{ErrorCode::kInvalid, config.trace + ":" + std::to_string(bad.number) + ": " + bad.message};
          return false;
        }
        ++skipped;
        hooks.bad_line(bad);
        return true;
      },
      config.max_requests);
  if (refused) return std::unexpected(*refused);
  return requests;
}

}  // namespace

Result<ReplayResult> replay_policy_only(const ReplayConfig& config, const Services& services,
                                        const ReplayHooks& hooks) {
  const auto start = std::chrono::steady_clock::now();
  ReplayResult result;
  result.policy = config.policy;
  result.capacity_blocks = config.capacity_blocks;
  result.block_bytes = config.block_bytes;
  result.with_bytes = false;
  const auto requests = load(config, hooks, result.skipped_lines);
  if (!requests) return std::unexpected(requests.error());

  sim::ReplayOptions options;
  options.policy = config.policy;
  options.capacity_blocks = config.capacity_blocks;
  options.block_tokens = config.limits.block_tokens;
  options.salt = config.cache.policy_salt == 0 ? 1 : config.cache.policy_salt;
  options.horizon_blocks = config.cache.policy_horizon_blocks;
  options.windows = kWindows;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    hooks.progress({total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total), {.requests = done}, 0});
  };
  const auto replayed = sim::replay(*requests, options, *services.policies);
  if (!replayed) return std::unexpected(replayed.error());

  result.counts = {
      replayed->requests, replayed->blocks, replayed->hit_blocks, 0, replayed->tokens, replayed->hit_tokens, 0};
  result.missed_blocks[static_cast<std::size_t>(Reason::kMiss)] = replayed->blocks - replayed->hit_blocks;
  result.offered = replayed->inserted;
  result.declined = replayed->declined;
  result.accepted = replayed->inserted - replayed->declined;
  for (std::size_t i = 0; i < replayed->windows.size(); ++i) {
    const sim::ReplayWindow& window = replayed->windows[i];
    const bool last = i + 1 == replayed->windows.size();
    const double end =
        last ? (requests->empty() ? 0 : requests->back().timestamp_ms) : replayed->windows[i + 1].start_ms;
    result.series.push_back(
        {end, {.requests = window.requests, .blocks = window.blocks, .l1_blocks = window.hit_blocks}});
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace reprise::cli
