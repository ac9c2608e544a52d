// One thread of `reprise bench`: chains of its own, which it puts, gets, replaces and checks, timing the calls alone.
// A worker belongs to one thread; the cache is shared.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cli/histogram.h"
#include "cli/services.h"
#include "reprise/cache.h"

namespace reprise::cli {

/// What one case does.
struct BenchCase {
  std::uint64_t block_bytes = 0;
  std::size_t batch = 1;  ///< Blocks a call.
  std::size_t threads = 1;
  double mix = 0.5;        ///< Share of calls that read.
  bool in_place = false;   ///< Read under a lease, fill a reservation; nothing is copied out or in.
  std::size_t chains = 2;  ///< Of `batch` blocks, kept by each thread.
  std::chrono::milliseconds duration{0};
};

/// Calls of one kind, of one thread or of several (`add`).
struct BenchSide {
  std::uint64_t calls = 0;
  std::uint64_t asked = 0;      ///< Blocks asked for, or offered.
  std::uint64_t blocks = 0;     ///< Blocks found, or now present.
  double calls_per_second = 0;  ///< By time inside the calls; summed over threads.
  double bytes_per_second = 0;
  Histogram latency;
  void add(const BenchSide& other);
};

struct BenchCounts {
  BenchSide get;
  BenchSide put;
  std::array<std::uint64_t, kReasonCount> reasons{};  ///< Answers that ended early.
  std::uint64_t checked_blocks = 0;                   ///< Compared byte by byte with what was put.
  std::uint64_t wrong_blocks = 0;
  std::string first_wrong;
  double copy_bytes_per_second = 0;  ///< memcpy of the same sizes by the same threads, before and after.
  void add(const BenchCounts& other);
};

class BenchWorker {
 public:
  /// All references outlive the worker. `source`: bytes to copy from when memcpy is measured, at least one batch.
  BenchWorker(Cache& cache, const Namespace& ns, const BenchCase& plan, std::uint64_t seed, Bytes source);

  /// Puts all chains. Not timed.
  [[nodiscard]] Result<void> prepare(const StopFlag& stop);
  /// Calls for about `plan.duration`, or until `stop`.
  [[nodiscard]] Result<void> run(const StopFlag& stop);
  /// memcpy of batches for about `span`.
  void copy(std::chrono::nanoseconds span);
  /// Takes the chains out of the cache again.
  void clear();

  [[nodiscard]] BenchCounts counts() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Timed {
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    std::chrono::nanoseconds time{0};
    void apply(BenchSide& side) const;
  };

  void rename(std::size_t chain);
  [[nodiscard]] Chain chain_at(std::size_t chain) const;
  [[nodiscard]] Result<void> put(std::size_t chain, bool timed);
  [[nodiscard]] Result<Stored> put_copy(const Chain& chain);
  [[nodiscard]] Result<Stored> put_in_place(const Chain& chain);
  [[nodiscard]] Result<void> get(std::size_t chain);
  [[nodiscard]] Result<Match> get_in_place(const Chain& chain, bool check);
  void check(const Chain& chain, std::size_t i, Bytes block);
  [[nodiscard]] MutableBytes block_of(std::vector<std::byte>& buffer, std::size_t i) const;

  Cache& cache_;
  const Namespace& namespace_;
  const BenchCase& plan_;
  const Bytes source_;
  std::mt19937_64 random_;
  std::vector<BlockKey> keys_;      // of chain c: [c * batch, (c + 1) * batch)
  std::vector<std::byte> written_;  // one batch, to put
  std::vector<std::byte> read_;     // one batch, got
  std::vector<Bytes> offers_;       // views of written_
  std::vector<MutableBytes> into_;  // views of read_
  std::size_t copied_to_ = 0;       // where in the source the next memcpy begins
  Timed gets_;
  Timed puts_;
  Timed copies_;
  BenchCounts counts_;
};

}  // namespace reprise::cli
