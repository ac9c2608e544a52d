// The line that shows how far a replay is: redrawn in place on a terminal, otherwise one line every few seconds.
// One thread at a time; the stream must outlive it.
#pragma once

#include <chrono>
#include <string>

#include "base/clock.h"
#include "cli/replay_run.h"
#include "cli/services.h"

namespace reprise::cli {

class ProgressLine {
 public:
  ProgressLine(Terminal& terminal, const Clock& clock);

  /// `label` names the run, e.g. "lru 5,000 blocks (2 of 8)".
  void start(std::string label);
  void update(const ReplayProgress& progress);
  /// Prints a message above the line.
  void message(const std::string& text);
  /// Takes the line away.
  void finish();

 private:
  [[nodiscard]] std::string line(const ReplayProgress& progress, TimePoint now) const;

  Terminal& terminal_;
  const Clock& clock_;
  std::string label_;
  TimePoint started_;
  TimePoint drawn_;
  bool shown_ = false;
};

}  // namespace reprise::cli
