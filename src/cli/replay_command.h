// `reprise replay`: several policies at several capacities over one trace, one after the other, and the reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/services.h"

namespace reprise::cli {

/// The arguments as typed; the command checks them, so that every message names its option.
struct ReplayArguments {
  std::string trace;
  std::vector<std::string> policies;    ///< Empty: l1.policy. "all": every built-in one.
  std::vector<std::string> capacities;  ///< Empty: l1.capacity / block bytes.
  std::string block_bytes = "4KiB";
  std::uint32_t block_tokens = 512;
  std::string cache_url = "embedded:";  ///< Of a cache in another process, policy and capacity are its own.
  double pace = 0;
  std::uint64_t max_requests = 0;
  bool no_bytes = false;
  bool strict = false;
  std::uint64_t flip_block = 0;
  std::string salt;  ///< Empty: random.
  std::string json_path;
  std::string html_path;
};

/// Returns an ExitCode.
[[nodiscard]] int replay_command(const ReplayArguments& arguments, const ResolvedOptions& options,
                                 const Services& services, Terminal& terminal, const StopFlag& stop);

}  // namespace reprise::cli
