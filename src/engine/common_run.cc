#include "engine/common_run.h"

#include <algorithm>
#include <limits>

namespace reprise {
namespace {

// run_ending[n] = how many present blocks in a row end just before position n.
std::vector<std::size_t> runs_ending_at(const std::vector<bool>& present) {
  std::vector<std::size_t> run_ending(present.size() + 1, 0);
  for (std::size_t i = 0; i < present.size(); ++i) run_ending[i + 1] = present[i] ? run_ending[i] + 1 : 0;
  return run_ending;
}

bool accepts(MatchRule rule, const std::vector<std::size_t>& run_ending, std::size_t n) {
  switch (rule.kind) {
    case MatchRule::Kind::kPrefix: return run_ending[n] == n;
    case MatchRule::Kind::kLast: return run_ending[n] >= std::min<std::size_t>(n, rule.arg);
    case MatchRule::Kind::kExact: return n == std::size_t{rule.arg} + 1 && run_ending[n] > 0;
  }
  return false;
}

}  // namespace

std::size_t common_run(std::span<const Presence> chains) {
  if (chains.empty()) return 0;
  std::size_t longest = std::numeric_limits<std::size_t>::max();
  std::vector<std::vector<std::size_t>> runs;
  runs.reserve(chains.size());
  for (const Presence& chain : chains) {
    longest = std::min(longest, chain.present.size());
    runs.push_back(runs_ending_at(chain.present));
  }
  for (std::size_t n = longest; n > 0; --n) {
    bool all = true;
    for (std::size_t c = 0; c < chains.size() && all; ++c) all = accepts(chains[c].rule, runs[c], n);
    if (all) return n;
  }
  return 0;
}

bool hole_behind(std::span<const Presence> chains, std::size_t n) {
  return std::ranges::any_of(chains, [n](const Presence& chain) {
    const auto from = chain.present.begin() + static_cast<std::ptrdiff_t>(std::min(n, chain.present.size()));
    const auto missing = std::find(from, chain.present.end(), false);
    return std::find(missing, chain.present.end(), true) != chain.present.end();
  });
}

}  // namespace reprise
