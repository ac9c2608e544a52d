// Options of the table as flags of one command: those it has a use for. Filled by the
// parser, so it must live until parsing is over. One thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "cli/services.h"

namespace CLI {
class App;
}

namespace reprise::cli {

class OptionFlags {
 public:
  enum class Scope {
    kCache,   ///< Of a cache, embedded or attached.
    kServer,  ///< Of a server and the caches inside it.
    kAll,
  };
  OptionFlags(CLI::App& app, Scope scope);
  OptionFlags(const OptionFlags&) = delete;
  OptionFlags& operator=(const OptionFlags&) = delete;

  /// Joins flags, environment and file. `extra`: {option name, text} of other flags that stand for an option; "" is
  /// absent. Says on `terminal.err` what is wrong, and returns nullopt; warnings are said too.
  [[nodiscard]] std::optional<ResolvedOptions> resolve(
      const Services& services, Terminal& terminal,
      const std::vector<std::pair<std::string, std::string>>& extra = {}) const;
  /// The same, but warnings are left to whoever shows them.
  [[nodiscard]] std::optional<ResolvedOptions> resolve_quietly(
      const Services& services, Terminal& terminal,
      const std::vector<std::pair<std::string, std::string>>& extra = {}) const;

 private:
  std::string command_;
  std::string toml_path_;
  std::map<std::string, std::vector<std::string>> texts_;  // by option name, in the order given
};

}  // namespace reprise::cli
