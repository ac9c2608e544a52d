// `reprise stat`: the counters of a cache as a table or JSON, once or again and again.
#pragma once

#include <chrono>
#include <string>

#include "base/options.h"
#include "cli/services.h"

namespace reprise::cli {

struct StatArguments {
  std::string cache_url;
  bool watch = false;
  double seconds = 2;  ///< Between two looks, with `watch`.
  bool json = false;   ///< One object a look, one a line.
};

/// kOk, kProblem when nothing answers, kUsage when the cache cannot be opened so. Watching ends with `stop`, as kOk.
[[nodiscard]] int stat_command(const StatArguments& arguments, const ResolvedOptions& options, const Services& services,
                               Terminal& terminal, const StopFlag& stop);

/// The table. `before` (nullptr: none) was taken `seconds` earlier, and adds rates.
[[nodiscard]] std::string stat_text(const std::string& cache_url, const CacheStats& now, const CacheStats* before,
                                    double seconds);

}  // namespace reprise::cli
