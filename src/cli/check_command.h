// `reprise check`: is a configuration sound for this machine, and where does each option come from.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/machine.h"
#include "cli/services.h"

namespace reprise::cli {

struct Finding {
  enum class Level : std::uint8_t { kFine, kWarning, kBad };
  Level level = Level::kFine;
  std::string subject;  ///< An option's name, or a part of the machine.
  std::string text;
};

using DiskProbe = std::function<DiskFacts(const std::string& path)>;

/// The judgement: a pure function of the configuration and the facts, but that a server named by l2.url is asked
/// (Services::open).
[[nodiscard]] std::vector<Finding> judge(const CacheOptions& options, const MachineFacts& machine,
                                         const DiskProbe& probe_disk, const Services& services);

/// Prints the options, the machine and the findings. Returns kProblem when a finding is bad, else kOk.
[[nodiscard]] int check_command(const ResolvedOptions& options, const MachineFacts& machine, const DiskProbe& disk,
                                const Services& services, Terminal& terminal);

}  // namespace reprise::cli
