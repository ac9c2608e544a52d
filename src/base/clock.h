// The seam for time. testing/manual_clock.h has the form tests turn by hand.
#pragma once

#include "reprise/deadline.h"

namespace reprise {

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;
};

/// std::chrono::steady_clock. Stateless, thread-safe.
class SteadyClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace reprise
