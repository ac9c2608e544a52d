// `reprise get`: the file that `reprise put` stored, or the blocks of a prompt's tokens; or only how much is there.
#pragma once

#include <string>

#include "base/options.h"
#include "cli/named_chain.h"
#include "cli/services.h"

namespace reprise::cli {

struct GetArguments {
  std::string cache_url;
  std::string path = "-";  ///< "-" = standard output.
  bool dry_run = false;    ///< Only say how much would be found.
  ChainArguments chain;
};

/// kOk when all of it was there (`dry_run`: anything), kProblem when not, kUsage else. A file appears under its name
/// only when it is complete.
[[nodiscard]] int get_command(const GetArguments& arguments, const ResolvedOptions& options, const Services& services,
                              Terminal& terminal, const StopFlag& stop);

}  // namespace reprise::cli
