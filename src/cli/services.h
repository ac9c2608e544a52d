// What the commands need from outside: how a cache is opened, which names are built in, where text goes. main.cc wires
// the real ones, tests wire doubles.
#pragma once

#include <atomic>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/cache.h"

namespace reprise::cli {

struct Services {
  std::function<Result<std::unique_ptr<Cache>>(std::string_view url, const CacheOptions& options)> open;
  const PolicyRegistry* policies = nullptr;
  std::vector<std::string> policy_names;
  std::vector<std::string> store_schemes;
  std::string kernel_name;               ///< Copy and checksum kernel of this process.
  std::vector<std::string> environment;  ///< "NAME=value", as in environ.
};

/// Where a command writes. Results go to `out`, everything else to `err`.
struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool err_is_tty = false;  ///< Progress may redraw its line.
};

/// Set from outside when the user wants to stop; commands finish with what they have.
using StopFlag = std::atomic<bool>;

/// Exit codes, the same for every command.
enum ExitCode : int {
  kOk = 0,
  kProblem = 1,        ///< The command ran and found something wrong: wrong bytes, an unsound configuration.
  kUsage = 2,          ///< It could not run: bad arguments, unreadable files, an impossible configuration.
  kInterrupted = 130,  ///< Stopped by the user; what was printed covers the part that ran.
};

}  // namespace reprise::cli
