// How far several chains, each with its own rule, are usable together. Pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "reprise/chain.h"

namespace reprise {

/// For one chain: which of its keys are present, by position.
struct Presence {
  MatchRule rule;
  std::vector<bool> present;
};

/// The largest n, at most every chain's length, for which every chain's needed blocks are present; 0 if there is none.
[[nodiscard]] std::size_t common_run(std::span<const Presence> chains);

/// True if any chain has a present block behind its first missing one at or after position n.
[[nodiscard]] bool hole_behind(std::span<const Presence> chains, std::size_t n);

}  // namespace reprise
