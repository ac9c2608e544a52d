// A daemon full of blocks, a client attached to it, and the client's buffers: what moving bytes is measured on.
//
// The caller's buffer has a place for every resident block, so calls walk through it in circles. One thread drives a
// rig; only run_get makes threads of its own.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/attached/daemon.h"
#include "bench/fixture/copy_limit.h"
#include "bench/fixture/fixture.h"

namespace reprise::bench {

struct RigShape {
  std::size_t block = 0;     ///< Bytes.
  std::size_t batch = 1;     ///< Blocks a call, one chain each.
  std::size_t resident = 0;  ///< Bytes; the daemon's whole memory.
  std::size_t per_run = 0;   ///< Bytes a run moves, in whole passes over what is resident.
  bool over_tcp = false;
  bool populate = true;
  std::vector<std::string> daemon_args = {};
  CacheOptions client = {};
  [[nodiscard]] std::string text() const;  ///< "1 MiB x 32".
};

/// "32 KiB", "4 MiB".
[[nodiscard]] std::string size_text(std::size_t bytes);

/// What one run took, of both processes together where it says processor.
struct Run {
  double bytes = 0, seconds = 0, cpu_seconds = 0;
  std::vector<double> latency_us = {};
};
[[nodiscard]] Result<Sample> mb_per_second(Result<Run> run);
[[nodiscard]] Result<Sample> cpu_seconds_per_gb(Result<Run> run);
/// Times `work`, which moves `bytes`; `cpu_seconds` reads the processor time of both processes.
[[nodiscard]] Result<Run> measure(double bytes, const std::function<double()>& cpu_seconds,
                                  const std::function<Result<void>(std::vector<double>& latency_us)>& work);

class Rig {
 public:
  /// Starts the daemon and attaches. Nothing is resident yet.
  [[nodiscard]] static Result<std::unique_ptr<Rig>> create(const RigShape& shape);
  /// Puts every block, gets it back twice and compares: afterwards each page was met by both sides.
  [[nodiscard]] Result<void> fill();
  /// Passes of put that leave every page of the writable side met; what `fill` put is gone afterwards.
  [[nodiscard]] Result<void> warm_puts();
  /// Another client in place of this one: its mappings are new.
  [[nodiscard]] Result<void> reattach();

  /// Gets every chain in a fixed shuffled order, as often as per_run says, shared among `threads`.
  [[nodiscard]] Result<Run> run_get(std::size_t threads = 1);
  /// Puts new blocks as often; each evicts one.
  [[nodiscard]] Result<Run> run_put();
  /// One pass, also where per_run says more.
  [[nodiscard]] Result<Run> get_once();
  [[nodiscard]] Result<Run> put_once();

  /// The copies such a run of get, or put, would make to and from memory of this process's own. One pass of them.
  [[nodiscard]] std::vector<CopyOp> get_copies(const Buffer& other) const;
  [[nodiscard]] std::vector<CopyOp> put_copies(const Buffer& other) const;

  [[nodiscard]] std::size_t passes() const { return passes_; }
  [[nodiscard]] std::size_t pass_bytes() const { return order_.size() * shape_.batch * shape_.block; }
  [[nodiscard]] double cpu_seconds() const { return daemon_->cpu_seconds(); }

 private:
  Rig(const RigShape& shape, Namespace ns, std::size_t chains);
  [[nodiscard]] Result<Run> get_passes(std::size_t passes, std::size_t threads);
  [[nodiscard]] Result<Run> put_passes(std::size_t passes);
  [[nodiscard]] Result<void> get_share(std::size_t thread, std::size_t threads, std::vector<double>* latency_us);
  [[nodiscard]] Result<void> put_all(const KeySet& keys, std::vector<double>* latency_us);
  [[nodiscard]] MutableBytes place(std::size_t chain, std::size_t i) const {
    return caller_.slice(chain * shape_.batch + i, shape_.block);
  }

  const RigShape shape_;
  const Namespace ns_;
  const KeySet keys_;                     // what is resident for get
  const std::vector<std::size_t> order_;  // chains in the order they are got
  const std::size_t passes_;
  const Buffer caller_;  // destination of get, source of put
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Cache> cache_;
  std::uint64_t seed_ = 100;
};

}  // namespace reprise::bench
