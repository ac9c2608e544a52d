// When a call must be back. Every call that may wait takes one.
#pragma once

#include <chrono>

namespace reprise {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

/// A point on the steady clock. A value type; copying is free.
class Deadline {
 public:
  /// Never expires. Only for callers that can afford to wait for hardware.
  static Deadline never() { return Deadline(TimePoint::max()); }
  /// Has already expired: the call answers with what it can get without waiting.
  static Deadline now() { return Deadline(TimePoint::min()); }
  static Deadline at(TimePoint when) { return Deadline(when); }
  /// `span` from now on the process's steady clock.
  static Deadline after(Duration span) { return Deadline(std::chrono::steady_clock::now() + span); }

  [[nodiscard]] TimePoint when() const { return when_; }
  [[nodiscard]] bool is_never() const { return when_ == TimePoint::max(); }
  [[nodiscard]] bool passed(TimePoint now) const { return now >= when_; }

  friend bool operator==(Deadline, Deadline) = default;
  friend auto operator<=>(Deadline, Deadline) = default;

 private:
  explicit Deadline(TimePoint when) : when_(when) {}
  TimePoint when_;
};

}  // namespace reprise
