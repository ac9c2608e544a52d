#include "bench/harness/stats.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace reprise::bench {

std::string Goal::text() const {
  const char* format = nullptr;
  switch (kind) {
    case Kind::kNone: return "";
    case Kind::kRatioAtLeast: format = "ratio >= %g"; break;
    case Kind::kRatioAtMost: format = "ratio <= %g"; break;
    case Kind::kValueAtLeast: format = "value >= %g"; break;
    case Kind::kValueAtMost: format = "value <= %g"; break;
    case Kind::kLimitPlus: format = "value <= %g x limit + %g"; break;
  }
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, bar, allowance);
  return buffer;
}

double quantile(std::span<const double> values, double q) {
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(at));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Summary summarize(std::span<const Pair> pairs, double allowance) {
  std::vector<double> ours, limits, ratios, beyond, itself;
  for (const Pair& pair : pairs) {
    ours.push_back(pair.ours);
    if (!pair.limit) continue;
    limits.push_back(*pair.limit);
    ratios.push_back(pair.ours / *pair.limit);
    beyond.push_back((pair.ours - allowance) / *pair.limit);
    if (pair.limit_again) itself.push_back(*pair.limit_again / *pair.limit);
  }
  Summary summary{.value = quantile(ours, 0.5)};
  if (!limits.empty()) {
    summary.limit = quantile(limits, 0.5);
    summary.ratio = quantile(ratios, 0.5);
    summary.ratio_beyond = quantile(beyond, 0.5);
  }
  if (!itself.empty()) {
    summary.aa_low = quantile(itself, 0.25);
    summary.aa_high = quantile(itself, 0.75);
  }
  return summary;
}

std::optional<bool> verdict(const Goal& goal, const Summary& summary) {
  switch (goal.kind) {
    case Goal::Kind::kNone: return std::nullopt;
    case Goal::Kind::kValueAtLeast: return summary.value >= goal.bar;
    case Goal::Kind::kValueAtMost: return summary.value <= goal.bar;
    case Goal::Kind::kRatioAtLeast:
      if (!summary.ratio || !summary.aa_low) return std::nullopt;
      return *summary.ratio >= goal.bar * *summary.aa_low;
    case Goal::Kind::kRatioAtMost:
      if (!summary.ratio || !summary.aa_high) return std::nullopt;
      return *summary.ratio <= goal.bar * *summary.aa_high;
    case Goal::Kind::kLimitPlus:
      if (!summary.ratio_beyond || !summary.aa_high) return std::nullopt;
      return *summary.ratio_beyond <= goal.bar * *summary.aa_high;
  }
  return std::nullopt;
}

}  // namespace reprise::bench
