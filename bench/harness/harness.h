// The measuring harness all benchmarks share: ours beside the limit, in adjacent pairs, verdicts by one rule.
//
// A driver describes cases and calls `Harness::run`. For each case the harness takes N pairs (9 unless told; fewer
// with --quick) in alternating order, "ours, limit, limit again" and then "limit again, limit, ours", so that each of
// ours against the limit and the limit against itself (A/A) are neighbours in time and see the same drift. Every run
// is kept in the JSON. One thread; a driver that wants more makes them inside `ours` and `limit`.
//
//   int main(int argc, char** argv) {
//     auto options = bench::parse_options("disk", argc, argv);
//     if (!options) return bench::usage_error(options.error());
//     bench::Harness harness("disk", *options);
//     harness.add({.name = "read 256 KiB", .unit = "MB/s", .ours = [&] { return read_ours(); },
//                  .limit = [&] { return read_fio(); }, .goal = bench::Goal::ratio_at_least(0.9)});
//     return harness.run();
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/stats.h"
#include "reprise/status.h"

namespace reprise::bench {

struct Options {
  bool quick = false;       ///< Smoke test: drivers shrink their sizes, no verdicts are given.
  std::size_t pairs = 9;    ///< Pairs a case; 2 with --quick unless given.
  std::string filter = {};  ///< Regular expression (ECMAScript, searched) on the case's name; "" = all.
  std::string json = {};    ///< File for the JSON object; "" = none, "-" = standard output instead of the table.
};

/// A driver's own option, e.g. {"--dir", "where the files go", &dir}. `*value` holds the default and is overwritten.
struct ExtraOption {
  std::string flag;
  std::string help;
  std::string* value = nullptr;
};

/// --json FILE, --filter REGEX, --quick, --pairs N, --help and `extra`. The error's message is what to print; --help
/// comes back as an error with code kInvalid too (see usage_error).
[[nodiscard]] Result<Options> parse_options(const std::string& name, int argc, const char* const* argv,
                                            const std::vector<ExtraOption>& extra = {});
/// Prints the message to stderr and returns the exit status for main.
int usage_error(const Error& error);

/// What one run of ours or of the limit measured.
struct Sample {
  double value = 0;                     ///< In the case's unit.
  std::vector<double> latency_us = {};  ///< Of single operations; p50 and p99 are taken over all of ours. May be empty.
};

/// One row of the table. `ours` and `limit` take as long as they need for a steady figure (0.1-3 s is usual).
struct Case {
  std::string name = {};
  std::string unit = {};
  std::function<Result<Sample>()> ours;
  std::function<Result<Sample>()> limit = {};  ///< Empty: no limit; ratio and A/A stay empty.
  Goal goal = {};
  std::function<Result<void>()> prepare = {};  ///< Before the first run. Not called when filtered out.
  std::function<void()> cleanup = {};          ///< After the last run, also after a failure.
  std::size_t pairs = 0;                       ///< 0: Options::pairs. 1 for figures that are no timings.
};

struct Row {
  std::string name = {};
  std::string unit = {};
  Goal goal = {};
  Summary summary = {};
  std::vector<Pair> pairs = {};
  double p50_us = 0, p99_us = 0;  ///< 0 where no latencies were given.
  std::optional<bool> holds = {};
  std::string error = {};  ///< Not empty: the case failed and has no figures.
};

class Harness {
 public:
  Harness(std::string name, Options options);

  void add(Case c);
  /// Extra facts for the JSON's "notes" and for a line below the table, e.g. note("llc_bytes", "33554432").
  void note(const std::string& key, const std::string& value);
  [[nodiscard]] const Options& options() const { return options_; }

  /// Runs the cases in order (progress on stderr), prints the table, writes the JSON. 0 when everything could be
  /// measured, whatever the verdicts; 1 when a case failed or the JSON could not be written.
  int run();
  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }

 private:
  [[nodiscard]] Row run_case(const Case& c, std::size_t index, std::size_t count) const;

  std::string name_;
  Options options_;
  std::vector<Case> cases_;
  std::vector<Row> rows_;
  std::map<std::string, std::string> notes_;
};

/// Seconds since some fixed point, steady.
[[nodiscard]] inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Keeps the compiler from dropping what computed `value`.
template <typename T>
inline void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

/// SplitMix64: small, seedable, good enough to shuffle keys. The seed is mixed first: neighbouring seeds would
/// otherwise give the same stream, shifted.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}
  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15ULL); }
  std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

}  // namespace reprise::bench
