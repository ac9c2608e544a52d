// The load of bench_mixed: blocks of many sizes, whose mix shifts, put and read by two threads while leases pin.
//
// `run_load` blocks its caller until the load is over. Every read's bytes are checked on a sample.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/fixture/fixture.h"

namespace reprise::bench {

struct LoadOptions {
  std::uint64_t capacity = 1ULL << 30;
  std::string policy = "lru";
  bool odd_sizes = false;      ///< Also sizes that are no powers of two and do not divide a slab.
  double pinned_share = 0.25;  ///< Of the capacity, under lease at most.
  double volume = 2;           ///< Payload offered in each phase, in capacities.
  std::size_t threads = 2;
  std::size_t check_one_in = 8;  ///< Reads whose every byte is checked.
};

/// The longest call of one kind.
struct Longest {
  double wall_ms = 0;
  double cpu_ms = 0;  ///< Of it, time its thread really ran: the rest it waited, for locks or for the processor.
  std::uint64_t bytes = 0;
};

struct LoadResult {
  double min_used = 0, mean_used = 0;     ///< Resident payload over capacity, from the moment it first was full.
  std::vector<double> min_used_by_phase;  // not a number where it was not full yet
  std::vector<double> declined_by_phase;  // share of the blocks offered in it
  double peak_pinned = 0;                 ///< Share of the capacity under lease at most.
  double seconds = 0;                     ///< All phases, with making and checking bytes.
  std::uint64_t calls = 0, accepted = 0, declined = 0, full = 0, blocks_read = 0, blocks_checked = 0;
  std::uint64_t wrong_blocks = 0;                              ///< Bytes that were not what was put. Any is a bug.
  std::vector<double> put_us, get_us, acquire_us, release_us;  ///< Wall time of every call.
  Longest longest_put, longest_get, longest_acquire, longest_release;
};

inline constexpr std::size_t kPhaseCount = 8;
[[nodiscard]] std::string phase_name(std::size_t phase);

[[nodiscard]] Result<LoadResult> run_load(const LoadOptions& options);

}  // namespace reprise::bench
