// Whether everything the cache counts agrees with what its entries say. See memory_cache.h.

#include <string>
#include <vector>

#include "l1/memory_cache.h"

namespace reprise {

namespace st = entry_state;

namespace {

// What the entries themselves add up to.
struct Sums {
  std::uint64_t used = 0;
  std::uint64_t transit = 0;
  std::uint64_t chunks_resident = 0;
  std::uint64_t chunks_live = 0;
  std::uint64_t unused = 0;
};

std::string differ(const char* what, std::uint64_t counted, std::uint64_t found) {
  return std::string(what) + ": counted " + std::to_string(counted) + ", found " + std::to_string(found);
}

}  // namespace

Result<MemoryCache::Census> MemoryCache::check_invariants() {
  const std::lock_guard lock(mutex_);
  settle();
  Census census;
  Sums sums;
  std::vector<bool> listed(entries_used_);
  for (BlockSlot slot = free_head_; slot != kNoSlot; slot = static_cast<BlockSlot>(entries_[slot].offset)) {
    if (slot >= entries_used_ || listed[slot]) {
      return fail(ErrorCode::kInternal, "the free list runs astray at " + std::to_string(slot));
    }
    listed[slot] = true;
    ++sums.unused;
  }
  for (BlockSlot slot = 0; slot < entries_used_; ++slot) {
    const BlockEntry& entry = entries_[slot];
    const std::string name = "entry " + std::to_string(slot);
    const std::uint32_t state = entry.state.load(std::memory_order_acquire);
    const std::uint32_t kind = state & (st::kVisible | st::kFilling | st::kDoomed);
    if ((state & (st::kClaimed | st::kNewcomer)) != 0) return fail(ErrorCode::kInternal, name + " was left in between");
    if (listed[slot] != (kind == 0)) return fail(ErrorCode::kInternal, name + " is free in one place only");
    if (kind == 0) continue;
    census.held += (state & st::kCount) != 0 ? 1 : 0;
    if (entry.offset != kNoChunk) {
      sums.chunks_live += chunk_of(entry.bytes);
      if (slabs_.owner(entry.offset) != slot) return fail(ErrorCode::kInternal, name + " lies in another's memory");
    }
    if (kind == st::kDoomed) {
      ++census.transit;
      sums.transit += entry.bytes;
      continue;
    }
    if (kind != st::kVisible && kind != st::kFilling)
      return fail(ErrorCode::kInternal, name + " is two things at once");
    if (kind == st::kVisible && entry.offset == kNoChunk) return fail(ErrorCode::kInternal, name + " has no bytes");
    ++(kind == st::kVisible ? census.visible : census.filling);
    sums.used += entry.bytes;
    sums.chunks_resident += chunk_of(entry.bytes);
    if (find(entry.ns, entry.key, identity_hash(entry.ns, entry.key)) != slot) {
      return fail(ErrorCode::kInternal, name + " cannot be found");
    }
  }
  const std::uint64_t resident = census.visible + census.filling;
  const struct {
    const char* what;
    std::uint64_t counted, found;
  } pairs[] = {
      {"resident blocks", resident_, resident},
      {"indexed blocks", index_.size(), resident},
      {"used bytes", used_bytes_, sums.used},
      {"resident memory", chunk_bytes_, sums.chunks_resident},
      {"transit bytes", transit_used_.load(std::memory_order_relaxed), sums.transit},
      {"allocated memory", slabs_.report().live_bytes, sums.chunks_live},
      {"free entries", free_entries_, sums.unused},
  };
  for (const auto& pair : pairs) {
    if (pair.counted != pair.found) return fail(ErrorCode::kInternal, differ(pair.what, pair.counted, pair.found));
  }
  if (used_bytes_ > options_.capacity) return fail(ErrorCode::kInternal, "more is resident than the capacity");
  return census;
}

}  // namespace reprise
