#include "cli/progress.h"

#include <ostream>

#include "base/options_values.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

constexpr Duration kRedraw = std::chrono::milliseconds(100);
constexpr Duration kLines = std::chrono::seconds(5);
constexpr int kBar = 24;
constexpr const char* kErase = "\r\x1b[K";

}  // namespace

ProgressLine::ProgressLine(Terminal& terminal, const Clock& clock) : terminal_(terminal), clock_(clock) {}

void ProgressLine::start(std::string label) {
  label_ = std::move(label);
  started_ = drawn_ = clock_.now();
}

void ProgressLine::update(const ReplayProgress& progress) {
  const TimePoint now = clock_.now();
  if (now - drawn_ < (terminal_.err_is_tty ? kRedraw : kLines)) return;
  drawn_ = now;
  shown_ = terminal_.err_is_tty;
  terminal_.err << (terminal_.err_is_tty ? kErase : "") << line(progress, now) << (terminal_.err_is_tty ? "" : "\n")
                << std::flush;
}

std::string ProgressLine::line(const ReplayProgress& progress, TimePoint now) const {
  const int filled = static_cast<int>(progress.share * kBar);
  std::string out = label_ + "  ";
  if (terminal_.err_is_tty) out += "[" + std::string(filled, '#') + std::string(kBar - filled, '.') + "] ";
  out += fixed(progress.share * 100, 0) + " %  " + with_commas(progress.counts.requests) + " requests";
  if (progress.counts.blocks > 0) out += "  hit " + fixed(progress.counts.block_ratio(), 4);
  const double seconds = std::chrono::duration<double>(now - started_).count();
  if (progress.moved_bytes > 0 && seconds > 0) {
    out += "  " + approximate_size(static_cast<double>(progress.moved_bytes) / seconds) + "/s";
  }
  return out;
}

void ProgressLine::message(const std::string& text) {
  finish();
  terminal_.err << text << "\n" << std::flush;
}

void ProgressLine::finish() {
  if (shown_) terminal_.err << kErase << std::flush;
  shown_ = false;
}

}  // namespace reprise::cli
