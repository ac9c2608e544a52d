// A command of the command line: its flags, declared on a parser, and what it runs with them. The factories below are
// in the flags_*.cc files, which know the parser; what a command does is in its own pair of files and does not.
//
// One thread at a time.
#pragma once

#include <memory>

#include "cli/services.h"

namespace CLI {
class App;
}

namespace reprise::cli {

class Command {
 public:
  explicit Command(CLI::App& app) : app_(app) {}
  virtual ~Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  /// The parser's part, which the root owns.
  [[nodiscard]] CLI::App& app() const { return app_; }
  /// Called after parsing. Returns an ExitCode.
  [[nodiscard]] virtual int run(const Services& services, Terminal& terminal, const StopFlag& stop) = 0;

 private:
  CLI::App& app_;
};

// Each adds one command to `root`, which must outlive what it returns.
[[nodiscard]] std::unique_ptr<Command> declare_serve(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_put(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_get(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_stat(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_explain(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_bench(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_replay(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_check(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_size(CLI::App& root);
[[nodiscard]] std::unique_ptr<Command> declare_options(CLI::App& root);

}  // namespace reprise::cli
