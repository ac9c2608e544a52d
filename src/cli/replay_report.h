// What a replay prints: tables for the terminal, one JSON object, one self-contained HTML page. Pure functions.
#pragma once

#include <span>
#include <string>

#include "cli/replay_result.h"

namespace reprise::cli {

/// What all results of a command have in common.
struct ReplayHeader {
  std::string trace{};
  std::string cache_url{};
  std::string tier{};    ///< l2.url, or "".
  std::string ingest{};  ///< "ALL", ...
  std::uint32_t block_tokens = 512;
  double pace = 0;
};

[[nodiscard]] std::string replay_tables(const ReplayHeader& header, std::span<const ReplayResult> results);
/// {"trace", ..., "results": [{"policy", "capacity_blocks", "requests", "prefix_hit_ratio", ...}]}.
[[nodiscard]] std::string replay_json(const ReplayHeader& header, std::span<const ReplayResult> results);
/// The page carries the JSON and draws from it; it loads nothing.
[[nodiscard]] std::string replay_html(const ReplayHeader& header, std::span<const ReplayResult> results);

}  // namespace reprise::cli
