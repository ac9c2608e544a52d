// A clock that stands still until a test moves it.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace reprise::testing {

class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return TimePoint(Duration(ticks_.load(std::memory_order_acquire))); }
  void advance(Duration by) { ticks_.fetch_add(by.count(), std::memory_order_acq_rel); }

 private:
  // Starts at one hour, so that "an hour ago" is representable.
  std::atomic<Duration::rep> ticks_{3'600'000'000'000};
};

}  // namespace reprise::testing
