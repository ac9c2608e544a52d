// A cache in another process for the length of a case: `reprise serve` on a socket in a directory of its own.
//
// Ends with the object, directory included. One thread owns it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/attached/process.h"
#include "reprise/cache.h"
#include "testing/temp_dir.h"

namespace reprise::bench {

struct DaemonPlan {
  std::uint64_t capacity = 0;  ///< Bytes of memory.
  std::string policy = "lru";  ///< With it every put of new blocks is accepted and evicts as many.
  bool populate = true;
  bool tcp = false;                    ///< Also on a free port of loopback.
  std::vector<std::string> more = {};  ///< Further arguments.
};

class Daemon {
 public:
  /// Starts it and waits until it answers and, where it populates, until all its memory is there.
  [[nodiscard]] static Result<std::unique_ptr<Daemon>> start(const DaemonPlan& plan);

  /// A client on the Unix socket, or the TCP port, that is connected. Its calls end after ten seconds at the latest.
  [[nodiscard]] Result<std::unique_ptr<Cache>> attach(bool over_tcp, CacheOptions options = {}) const;
  /// Processor time of the daemon and this process so far.
  [[nodiscard]] double cpu_seconds() const { return own_cpu_seconds() + process_->cpu_seconds(); }
  [[nodiscard]] const std::string& directory() const { return directory_.path(); }

 private:
  explicit Daemon(const DaemonPlan& plan) : plan_(plan) {}
  [[nodiscard]] Result<void> wait_until_ready();
  [[nodiscard]] std::string last_words() const;

  const DaemonPlan plan_;
  const testing::TempDir directory_;
  std::string unix_url_, tcp_url_;
  std::unique_ptr<Process> process_;
};

}  // namespace reprise::bench
