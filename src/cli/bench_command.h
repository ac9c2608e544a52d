// `reprise bench`: how fast a cache answers, whatever its URL: block sizes by batches, the speed of a plain copy
// beside.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/bench_run.h"
#include "cli/services.h"

namespace reprise::cli {

/// As typed; the command checks them, so that every message names its flag.
struct BenchArguments {
  std::string cache_url;
  std::vector<std::string> sizes = {"32KiB", "1MiB"};
  std::vector<std::string> batches = {"1", "32"};
  std::uint32_t threads = 1;
  double mix = 0.5;
  std::string duration = "2s";         ///< Of each case.
  std::string working_set = "256MiB";  ///< Kept in the cache by each case, by all threads together.
  bool in_place = false;
  std::string json_path;
};

/// kOk, kProblem for wrong bytes or when nothing was found, kUsage, kInterrupted with what was measured so far.
[[nodiscard]] int bench_command(const BenchArguments& arguments, ResolvedOptions options, const Services& services,
                                Terminal& terminal, const StopFlag& stop);

/// The cases of the arguments, in order. Fails with kConfig, naming the flag.
[[nodiscard]] Result<std::vector<BenchCase>> plan_bench(const BenchArguments& arguments);

[[nodiscard]] std::string bench_table(std::span<const BenchResult> results);
/// {"cache", "threads", ..., "cases": [{"block_bytes", "batch", "get": {...}, "put": {...}, ...}]}.
[[nodiscard]] std::string bench_json(const BenchArguments& arguments, std::span<const BenchResult> results);

}  // namespace reprise::cli
