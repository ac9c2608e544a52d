// The node of policies that order blocks by the moment of one event (use, arrival): 16 bytes a block.
#pragma once

#include <cstdint>

#include "reprise/eviction.h"

namespace reprise::eviction {

struct StampedNode {
  BlockSlot older = kNoSlot;
  BlockSlot younger = kNoSlot;
  std::uint64_t stamp = 0;
  [[nodiscard]] std::uint64_t age(std::uint64_t now) const { return now - stamp; }
};

}  // namespace reprise::eviction
