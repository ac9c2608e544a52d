// What the commands need from outside: how a cache is opened, how a server is run, which names are built in, where text
// goes. main.cc wires the real ones, tests wire doubles.
#pragma once

#include <atomic>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "reprise/cache.h"

namespace reprise::cli {

/// Where a command reads and writes. Results go to `out`, everything else to `err`.
struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool err_is_tty = false;  ///< Progress may redraw its line.
  bool out_is_tty = false;  ///< Tables may be redrawn; bytes are not wanted there.
  std::istream* in = nullptr;
};

/// Set from outside when the user wants to stop; commands finish with what they have.
using StopFlag = std::atomic<bool>;
/// Set by SIGHUP; the server takes it back when it has read its files again.
using ReloadFlag = std::atomic<bool>;

struct HttpAnswer {
  int status = 0;
  std::string body;
};

struct Services {
  std::function<Result<std::unique_ptr<Cache>>(std::string_view url, const CacheOptions& options)> open;
  /// Serves until told to stop; returns an ExitCode.
  std::function<int(const ResolvedOptions& options, Terminal& terminal, const StopFlag& stop)> serve;
  /// GET of an http:// URL, with a bearer token unless that is empty. Fails with kIo when nobody answers, kInvalid
  /// when the URL is none.
  std::function<Result<HttpAnswer>(const std::string& url, const std::string& token)> http_get;
  const PolicyRegistry* policies = nullptr;
  std::vector<std::string> policy_names;
  std::vector<std::string> store_schemes;
  std::string kernel_name;               ///< Copy and checksum kernel of this process.
  std::vector<std::string> environment;  ///< "NAME=value", as in environ.
};

/// Exit codes, the same for every command.
enum ExitCode : int {
  kOk = 0,
  kProblem = 1,        ///< The command ran and found something wrong: wrong bytes, an unsound configuration.
  kUsage = 2,          ///< It could not run: bad arguments, unreadable files, an impossible configuration.
  kInterrupted = 130,  ///< Stopped by the user; what was printed covers the part that ran.
};

}  // namespace reprise::cli
