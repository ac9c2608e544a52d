// A daemon, a client attached to it, chains that are resident, and the raw pair beside: what calls are timed on.
//
// One thread. The match case stands here because both drivers have it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/attached/calls.h"
#include "bench/attached/daemon.h"
#include "bench/attached/raw_pair.h"
#include "bench/fixture/fixture.h"

namespace reprise::bench {

/// Resident chains of blocks of one size.
struct Resident {
  Namespace ns;
  KeySet keys;
};

struct Visit {
  std::unique_ptr<Daemon> daemon;
  std::unique_ptr<Cache> cache;
  std::vector<Resident> sizes;
  std::unique_ptr<RawPair> raw;
  std::size_t at = 0;  ///< Counts calls, for whoever takes turns.

  /// A daemon of `capacity` bytes, attached over `wire`, and a raw pair on the same with buffers of `raw_buffer` bytes.
  [[nodiscard]] Result<void> start(Wire wire, std::uint64_t capacity, std::size_t raw_buffer);
  /// `chains` chains of `length` blocks of `block` bytes more.
  [[nodiscard]] Result<void> add_resident(std::size_t block, std::size_t chains, std::size_t length);
  /// Ends all of it, the client before its daemon.
  void end();
  /// Calls of the raw pair that bring `reply` bytes.
  [[nodiscard]] Result<Sample> raw_trips(const Pace& pace, std::size_t reply);
};

/// How many calls a run of a latency case makes, with `gap_us` between them.
[[nodiscard]] Pace pace_of(const Harness& harness, double gap_us);

/// match of 1,000 keys of which 500 are present, with one hole, beside raw round trips of 64 bytes.
void add_match(Harness& harness, Wire wire, double gap_us, Goal goal);

}  // namespace reprise::bench
