// Repeating a call and timing each. Free functions; they block their caller.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "bench/harness/harness.h"

namespace reprise::bench {

/// How calls follow each other: back to back, or after the caller has slept for `gap_us`.
struct Pace {
  std::size_t calls = 0;
  double gap_us = 0;
  [[nodiscard]] std::string text() const { return gap_us == 0 ? "awake" : "after a 500 us gap"; }
};

/// The median in microseconds as the value, all as latencies. Ends at the first failure.
[[nodiscard]] Result<Sample> time_calls(const Pace& pace, const std::function<Result<void>()>& call);

}  // namespace reprise::bench
