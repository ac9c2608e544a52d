// What one replay (one policy at one capacity) found. Plain values, shared by the runners and the reports.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/histogram.h"
#include "reprise/stats.h"

namespace reprise::cli {

/// Block and token counts over a stretch of requests.
struct HitCounts {
  std::uint64_t requests = 0;
  std::uint64_t blocks = 0;     ///< Block references: the sum of the chains' lengths.
  std::uint64_t l1_blocks = 0;  ///< Of them found in memory, as part of the leading run.
  std::uint64_t l2_blocks = 0;  ///< Of them brought up from the tier behind it.
  std::uint64_t tokens = 0;
  std::uint64_t l1_tokens = 0;  ///< A partial last block counts the tokens it holds.
  std::uint64_t l2_tokens = 0;

  void add(const HitCounts& other);
  [[nodiscard]] double block_ratio() const;
  [[nodiscard]] double token_ratio() const;
};

/// A stretch of consecutive requests; its end on the trace's clock.
struct SeriesPoint {
  double end_ms = 0;
  HitCounts counts;
};

/// Keeps at most kMost points however long the trace is: when full, neighbours are merged.
class Series {
 public:
  void add(double timestamp_ms, const HitCounts& request);
  [[nodiscard]] std::vector<SeriesPoint> points() const;

 private:
  static constexpr std::size_t kMost = 240;
  std::vector<SeriesPoint> points_;
  std::uint64_t per_point_ = 1;  // requests
};

struct ReplayResult {
  std::string policy;
  std::uint64_t capacity_blocks = 0;
  std::uint64_t block_bytes = 0;
  bool with_bytes = true;    ///< False: a policy-only replay; bytes, latencies and the cache's own counters are absent.
  bool interrupted = false;  ///< Covers only the first `counts.requests` requests.

  HitCounts counts;
  std::vector<SeriesPoint> series;
  std::uint64_t skipped_lines = 0;
  std::array<std::uint64_t, kReasonCount> missed_blocks{};  ///< Blocks not found, by the answer's reason.

  std::uint64_t offered = 0;  ///< Blocks put, and what became of them.
  std::uint64_t accepted = 0;
  std::uint64_t present = 0;
  std::uint64_t declined = 0;
  std::uint64_t expired_leases = 0;  ///< Answers not used because their lease ran out while they were checked.

  std::uint64_t checked_bytes = 0;  ///< Compared with what the block must hold.
  std::uint64_t stored_bytes = 0;
  std::uint64_t wrong_blocks = 0;
  std::string first_wrong;  ///< "request 12, block 3 (key ...): byte 17 ..."

  Histogram match;
  Histogram acquire;
  Histogram put;
  double seconds = 0;      ///< Wall clock of the whole run, content generation and checks included.
  CacheStats cache_stats;  ///< At the end, after what was queued for L2 was written.
};

}  // namespace reprise::cli
