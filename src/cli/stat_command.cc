#include "cli/stat_command.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <thread>

#include "base/options_values.h"
#include "cli/cache_target.h"
#include "cli/stats_json.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kShortestWatch = 0.1;
constexpr double kLongestWatch = 86'400;
constexpr const char* kClear = "\x1b[H\x1b[2J";

std::string people(std::uint64_t bytes) {
  return approximate_size(static_cast<double>(bytes));
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  return fixed(100 * static_cast<double>(part) / static_cast<double>(whole), 1) + " %";
}

// Counters only grow, unless the server was started anew between two looks.
std::uint64_t grown(std::uint64_t now, std::uint64_t before) {
  return now > before ? now - before : 0;
}

void add_tier(TextTable& table, const TierStats& tier) {
  if (tier.name.empty()) return;
  table.add({tier.name, tier.capacity_bytes == 0 ? "-" : people(tier.capacity_bytes), people(tier.used_bytes),
             percent(tier.used_bytes, tier.capacity_bytes), with_commas(tier.blocks), with_commas(tier.hits),
             people(tier.read_bytes), with_commas(tier.writes), people(tier.write_bytes), with_commas(tier.evictions),
             with_commas(tier.corrupt + tier.foreign), with_commas(tier.errors)});
}

std::string requests_text(const CacheStats& now) {
  const std::uint64_t hits = now.l1.hits + now.l2.hits;
  return "Blocks asked for  " + with_commas(now.requested) + ": " + percent(hits, now.requested) + " found (" +
         percent(now.l1.hits, now.requested) + " in memory, " + percent(now.l2.hits, now.requested) +
         " behind it); declined when offered " + with_commas(now.declined) + "\n";
}

std::string reasons_text(const CacheStats& now) {
  std::string out;
  for (int i = 1; i < kReasonCount; ++i) {
    const std::uint64_t count = now.reasons[static_cast<std::size_t>(i)];
    if (count == 0) continue;
    out += (out.empty() ? "" : ", ") + std::string(to_string(static_cast<Reason>(i))) + " " + with_commas(count);
  }
  return "Answers cut short " + (out.empty() ? "none" : out) + "\n";
}

std::string rates_text(const CacheStats& now, const CacheStats& before, double seconds) {
  if (seconds <= 0) return "";
  const std::uint64_t asked = grown(now.requested, before.requested);
  const std::uint64_t hits = grown(now.l1.hits + now.l2.hits, before.l1.hits + before.l2.hits);
  const auto rate = [seconds](std::uint64_t n) { return static_cast<double>(n) / seconds; };
  return "Last " + fixed(seconds, 1) + " s       asked for " + short_number(rate(asked)) + " blocks/s, " +
         percent(hits, asked) + " found; out " +
         approximate_size(
             rate(grown(now.l1.read_bytes + now.l2.read_bytes, before.l1.read_bytes + before.l2.read_bytes))) +
         "/s, in " + approximate_size(rate(grown(now.l1.write_bytes, before.l1.write_bytes))) + "/s, evicted " +
         short_number(rate(grown(now.l1.evictions, before.l1.evictions))) + " blocks/s\n";
}

class StatLoop {
 public:
  StatLoop(const StatArguments& arguments, const Cache& cache, Terminal& terminal, const StopFlag& stop)
      : arguments_(arguments), cache_(cache), terminal_(terminal), stop_(stop) {}

  void run() {
    look();
    while (arguments_.watch && wait()) look();
  }

 private:
  void look() {
    const CacheStats now = cache_.stats();
    const auto at = Clock::now();
    if (arguments_.json) {
      terminal_.out << stats_json(now).dump() << "\n" << std::flush;
    } else {
      const double seconds = std::chrono::duration<double>(at - at_).count();
      if (before_) terminal_.out << (terminal_.out_is_tty ? kClear : "\n");
      terminal_.out << stat_text(arguments_.cache_url, now, before_ ? &*before_ : nullptr, seconds) << std::flush;
    }
    before_ = now;
    at_ = at;
  }

  // False when the user wants to stop.
  bool wait() {
    const auto until =
        at_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(arguments_.seconds));
    while (!stop_.load() && Clock::now() < until) {
      std::this_thread::sleep_until(std::min(until, Clock::now() + std::chrono::milliseconds(50)));
    }
    return !stop_.load();
  }

  const StatArguments& arguments_;
  const Cache& cache_;
  Terminal& terminal_;
  const StopFlag& stop_;
  std::optional<CacheStats> before_;
  Clock::time_point at_;
};

}  // namespace

std::string stat_text(const std::string& cache_url, const CacheStats& now, const CacheStats* before, double seconds) {
  TextTable table({"tier", "capacity", "used", "full", "blocks", "hits", "read", "writes", "written", "evicted",
                   "bad copies", "errors"});
  add_tier(table, now.l1);
  add_tier(table, now.l2);
  std::string out = cache_url + "\n\n" + table.text() + "\n" + requests_text(now) + reasons_text(now);
  out += "Leases            " + with_commas(now.leases) + " over " + with_commas(now.leased_blocks) +
         " blocks; ran out " + with_commas(now.leases_expired) + "\n";
  if (!now.l2.name.empty()) {
    out += "Behind memory     waiting to be written " + people(now.ingest_queued_bytes) + ", not written " +
           with_commas(now.ingest_dropped) + " blocks; left at their deadline " + with_commas(now.abandoned) + " (" +
           with_commas(now.abandoned_running) + " still running), ejected " + with_commas(now.ejections) + " times\n";
  }
  out += "Memory beside it  metadata " + people(now.metadata_bytes) + ", tables " + people(now.fixed_bytes) +
         "; arena " + fixed(100 * now.populated, 0) + " % populated\n";
  return before == nullptr ? out : out + rates_text(now, *before, seconds);
}

int stat_command(const StatArguments& arguments, const ResolvedOptions& options, const Services& services,
                 Terminal& terminal, const StopFlag& stop) {
  if (arguments.watch && !(arguments.seconds >= kShortestWatch && arguments.seconds <= kLongestWatch)) {
    terminal.err << "reprise stat: --watch: must be from 0.1 to 86400 seconds\n";
    return kUsage;
  }
  const auto cache = open_target(services, arguments.cache_url, options);
  if (!cache) {
    terminal.err << "reprise stat: " << cache.error().message << "\n";
    return cache.error().code == ErrorCode::kIo ? kProblem : kUsage;
  }
  StatLoop(arguments, **cache, terminal, stop).run();
  return kOk;
}

}  // namespace reprise::cli
