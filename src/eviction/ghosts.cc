#include "eviction/ghosts.h"

#include <algorithm>
#include <cstring>

namespace reprise::eviction {

void GhostTable::reset(std::uint64_t ghosts) {
  sets_ = std::vector<Set>((ghosts + kWays - 1) / kWays);
  size_ = 0;
}

// The position of a cell with this fingerprint, kWays if there is none.
unsigned GhostTable::find(const Set& set, std::uint32_t print) {
  for (unsigned i = 0; i < kWays; ++i) {
    // Off by 1..kMaxCount, the count, if it is the same fingerprint.
    const std::uint32_t count = set.cells[i] - print;
    if (count - 1 < kMaxCount) return i;
  }
  return kWays;
}

void GhostTable::remember(std::uint64_t hash, unsigned count) {
  if (sets_.empty()) return;
  Set& set = sets_[set_of(hash)];
  const std::uint32_t print = fingerprint(hash);
  // A cell with the same fingerprint is replaced; otherwise the oldest falls out.
  unsigned end = find(set, print);
  if (end == kWays) {
    end = kWays - 1;
    size_ += set.cells[end] == 0 ? 1 : 0;
  }
  std::memmove(&set.cells[1], &set.cells[0], end * sizeof(set.cells[0]));
  set.cells[0] = print | std::clamp(count, 1U, kMaxCount);
}

unsigned GhostTable::take(std::uint64_t hash) {
  if (sets_.empty()) return 0;
  Set& set = sets_[set_of(hash)];
  const unsigned at = find(set, fingerprint(hash));
  if (at == kWays) return 0;
  const unsigned count = set.cells[at] & kMaxCount;
  std::memmove(&set.cells[at], &set.cells[at + 1], (kWays - 1 - at) * sizeof(set.cells[0]));
  set.cells[kWays - 1] = 0;
  --size_;
  return count;
}

}  // namespace reprise::eviction
