// A child process of a driver: started, measured and ended by its id.
//
// It dies with the thread that started it. One thread owns a Process; what only asks may be called from any.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "reprise/status.h"

namespace reprise::bench {

class Process {
 public:
  struct Start {
    std::vector<std::string> argv = {};                 ///< argv[0] is the file to execute.
    std::vector<std::pair<int, int>> descriptors = {};  ///< (ours, its number in the child, above 2). All others close.
    std::string output = "/dev/null";                   ///< File its standard output and error go to.
  };
  [[nodiscard]] static Result<std::unique_ptr<Process>> start(const Start& what);
  ~Process();  ///< SIGTERM, five seconds, SIGKILL.
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// False once it has ended.
  [[nodiscard]] bool alive();
  /// Seconds of processor time all its threads have used so far; 0 once it has ended.
  [[nodiscard]] double cpu_seconds() const;

 private:
  explicit Process(pid_t pid) : pid_(pid) {}
  [[nodiscard]] bool ended_within(double seconds);

  pid_t pid_;
  bool ended_ = false;
};

/// The same of this process.
[[nodiscard]] double own_cpu_seconds();

/// This process, with the threads it starts from now on, stays on one processor, and what Process starts on the others:
/// left alone, the kernel puts two processes that talk on one processor or on two as it likes, and a figure depends on
/// that more than on anything else. Both sides of a comparison are placed alike. Returns what to say about it; does
/// nothing with one processor, or where REPRISE_BENCH_ANYWHERE is set.
[[nodiscard]] std::string place_apart();

}  // namespace reprise::bench
