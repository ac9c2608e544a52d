// The arithmetic behind every speed claim: quantiles, pairs, and the verdict on a bar. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reprise::bench {

/// What a row is asked to reach. Ratios are ours / limit in the case's own unit, so a rate wants a floor and a time
/// wants a ceiling.
struct Goal {
  enum class Kind { kNone, kRatioAtLeast, kRatioAtMost, kValueAtLeast, kValueAtMost, kLimitPlus };
  Kind kind = Kind::kNone;
  double bar = 0;
  double allowance = 0;  ///< kLimitPlus: what may come on top of the limit, in the case's unit.

  static Goal none() { return {}; }
  static Goal ratio_at_least(double bar) { return {Kind::kRatioAtLeast, bar}; }
  static Goal ratio_at_most(double bar) { return {Kind::kRatioAtMost, bar}; }
  static Goal value_at_least(double bar) { return {Kind::kValueAtLeast, bar}; }
  static Goal value_at_most(double bar) { return {Kind::kValueAtMost, bar}; }

  /// At most `bar` limits and `allowance` beside: a time that is the machine's plus what the work may take.
  static Goal limit_plus(double bar, double allowance) { return {Kind::kLimitPlus, bar, allowance}; }

  /// "ratio >= 0.95", "value <= 0.15", "value <= 1 x limit + 20"; "" for none.
  [[nodiscard]] std::string text() const;
};

/// One adjacent pair, with the limit's second run beside its first. Absent where the case has no limit.
struct Pair {
  double ours = 0;
  std::optional<double> limit = {};
  std::optional<double> limit_again = {};
  bool ours_first = true;
};

struct Summary {
  double value = 0;                                 ///< Median of ours.
  std::optional<double> limit = {};                 ///< Median of the limit's first runs.
  std::optional<double> ratio = {};                 ///< Median of ours / limit, pair by pair.
  std::optional<double> ratio_beyond = {};          ///< Median of (ours - allowance) / limit, pair by pair.
  std::optional<double> aa_low = {}, aa_high = {};  ///< Quartiles of the limit against itself.
};

/// The q-quantile of `values` (any order), interpolated between neighbours. 0 when empty.
[[nodiscard]] double quantile(std::span<const double> values, double q);

/// `allowance`: the goal's. REQUIRES: at least one pair.
[[nodiscard]] Summary summarize(std::span<const Pair> pairs, double allowance = 0);

/// A ratio's floor holds if the median ratio reaches bar x the A/A lower quartile (a ceiling, also of the ratio beyond
/// an allowance: bar x the upper one); an absolute bar compares the median. nullopt without a goal, or for a ratio
/// without a limit.
[[nodiscard]] std::optional<bool> verdict(const Goal& goal, const Summary& summary);

}  // namespace reprise::bench
