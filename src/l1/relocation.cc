// Memory for a block when its size has none left: a slab of another size is emptied. See memory_cache.h.
//
// Blocks of that slab are copied into free chunks of their own size where there are any, without the mutex and while
// they stay readable; the rest is dropped. Blocks that somebody holds stay where they are: their slab is retired, that
// is, it keeps the pages of these blocks only. Without addresses left, such a slab is left alone, and retired ones
// whose blocks are no longer held are emptied first.

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/kernels.h"
#include "l1/memory_cache.h"

namespace reprise {

namespace st = entry_state;

namespace {

// Under one hold of the mutex: candidates looked at, and blocks in them after which there is no further one.
constexpr int kSlabsTried = 16;
constexpr std::size_t kBlocksLookedAt = 8192;
constexpr std::size_t kUsualBlocks = 2048;  // in a slab: tables for more grow under the mutex
constexpr int kSlabsEmptied = 256;          // for one block; a block of many slabs needs many

}  // namespace

struct MemoryCache::Relocation {
  struct Move {
    BlockSlot slot;
    std::uint64_t from, to;
    std::uint32_t bytes;
  };
  std::uint64_t wanted_bytes = 0;
  std::uint32_t slab = 0;
  bool kept = false;    // a block stays where it is
  bool retire = false;  // then: else the slab serves its old size again
  std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
  std::vector<Move> moves;
};

bool MemoryCache::give_memory(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  if (entry.offset != kNoChunk) return true;  // only the caller, who holds it, can change that
  for (int emptied = 0; emptied < kSlabsEmptied; ++emptied) {
    bool short_of_pages = false;
    std::optional<std::uint64_t> offset;
    {
      const std::lock_guard lock(mutex_);
      apply_leftovers();
      offset = slabs_.allocate(entry.bytes, slot);
      if (offset) entry.offset = *offset;
      short_of_pages = slabs_.wants_discard();
    }
    if (short_of_pages) give_pages_back();
    if (offset) return true;
    Relocation plan;
    plan.wanted_bytes = entry.bytes;
    plan.live.reserve(kUsualBlocks);
    plan.moves.reserve(kUsualBlocks);
    if (!plan_relocation(plan)) return false;
    for (const Relocation::Move& move : plan.moves) {
      copy_block({arena_->data() + move.to, move.bytes}, {arena_->data() + move.from, move.bytes});
    }
    finish_relocation(plan);
  }
  return false;
}

bool MemoryCache::drop_for_relocation(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  std::uint32_t seen = entry.state.load(std::memory_order_acquire);
  do {
    if ((seen & st::kCount) != 0 || (seen & st::kVisible) == 0) return false;
  } while (!entry.state.compare_exchange_weak(seen, seen & ~(st::kVisible | st::kAside), std::memory_order_acq_rel));
  if (options_.keep_evicted && (seen & st::kSaved) == 0) transit_dropped_.fetch_add(1, std::memory_order_relaxed);
  policy_->remove(slot);
  unlink(slot);
  count_out(entry.bytes);
  ++evictions_;
  departed(slot, DepartureWhy::kRelocated);
  free_entry(slot);
  return true;
}

bool MemoryCache::stays(BlockSlot slot) const {
  const std::uint32_t state = entries_[slot].state.load(std::memory_order_relaxed);
  return (state & st::kCount) != 0 || (state & st::kVisible) == 0;
}

/// A slab to empty, closed, with `plan.live` its blocks: of those looked at, the one that keeps the fewest bytes.
std::optional<std::uint32_t> MemoryCache::choose_slab(std::uint64_t wanted_bytes, Relocation& plan) {
  const auto held_blocks = [&](std::uint32_t slab) {
    plan.live.clear();
    slabs_.live_blocks(slab, plan.live);
    return static_cast<std::uint64_t>(std::ranges::count_if(plan.live, [&](const auto& b) { return stays(b.second); }));
  };
  std::size_t looked_at = 0;
  plan.retire = slabs_.has_addresses(wanted_bytes);
  for (int tried = 0; !plan.retire && tried < kSlabsTried && looked_at < kBlocksLookedAt; ++tried) {
    const auto retired = slabs_.next_retired();
    if (!retired) break;
    if (held_blocks(retired->slab) == 0) return retired->slab;
    looked_at += plan.live.size();
  }
  std::array<std::uint32_t, kSlabsTried> closed;
  int tried = 0;
  std::optional<std::uint32_t> best;
  std::uint64_t best_kept = 0;
  for (looked_at = 0; tried < kSlabsTried && looked_at < kBlocksLookedAt && (!best || best_kept > 0);) {
    const auto victim = slabs_.emptiest_slab(wanted_bytes);
    if (!victim) break;
    const std::uint64_t held = held_blocks(victim->slab);
    looked_at += plan.live.size();
    const std::uint64_t kept = slabs_.retired_bytes(victim->slab, held);
    // To move many blocks for little memory would take long.
    const bool worth = held == 0 || (plan.retire && kept <= slabs_.counted_bytes(victim->slab) / 8 * 7);
    slabs_.close(victim->slab);  // which an empty one does not survive
    closed[static_cast<std::size_t>(tried++)] = victim->slab;
    if (!worth || (best && kept >= best_kept)) continue;
    best = victim->slab;
    best_kept = kept;
  }
  for (const std::uint32_t slab : std::span(closed).first(static_cast<std::size_t>(tried))) {
    if (slab != best) slabs_.reopen(slab);
  }
  if (best) held_blocks(*best);
  return best;
}

bool MemoryCache::plan_relocation(Relocation& plan) {
  const std::lock_guard lock(mutex_);
  const std::optional<std::uint32_t> slab = choose_slab(plan.wanted_bytes, plan);
  if (!slab) return false;
  plan.slab = *slab;
  for (const auto& [offset, slot] : plan.live) {
    if (stays(slot)) {
      plan.kept = true;
      continue;
    }
    const std::uint32_t bytes = entries_[slot].bytes;
    const auto to = slabs_.free_chunks(bytes) > 0 ? slabs_.allocate(bytes, slot) : std::nullopt;
    if (to) {
      entries_[slot].state.fetch_add(1, std::memory_order_acq_rel);
      plan.moves.push_back({slot, offset, *to, bytes});
    } else {
      plan.kept = !drop_for_relocation(slot) || plan.kept;  // a block pinned just now stays
    }
  }
  return true;
}

void MemoryCache::finish_relocation(Relocation& plan) {
  const std::lock_guard lock(mutex_);
  for (const Relocation::Move& move : plan.moves) {
    BlockEntry& entry = entries_[move.slot];
    std::uint32_t seen = entry.state.load(std::memory_order_acquire);
    bool claimed = false;
    while (!claimed && (seen & st::kCount) == 1 && (seen & st::kVisible) != 0) {
      claimed = entry.state.compare_exchange_weak(seen, seen | st::kClaimed, std::memory_order_acq_rel);
    }
    if (claimed) {
      entry.offset = move.to;
      entry.state.fetch_and(~st::kClaimed, std::memory_order_acq_rel);
      slabs_.free(move.from);
    } else {
      slabs_.free(move.to);
      plan.kept = true;
    }
    unpin(move.slot);
  }
  // Freed with its last block. Otherwise, closed for ever, its free chunks would be lost.
  if (!plan.kept) return;
  if (plan.retire) {
    slabs_.retire(plan.slab);
  } else {
    slabs_.reopen(plan.slab);
  }
}

/// Before anybody writes to memory just allocated: see the bound in memory/slabs.h.
void MemoryCache::give_pages_back() {
  SlabAllocator::Discard discard;
  discard.ranges.reserve(SlabAllocator::Discard::kMaxRanges);
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (!slabs_.begin_discard(discard)) return;
    }
    // Refused (say, for locked memory), the pages stay: nothing else goes wrong.
    for (const auto& [offset, bytes] : discard.ranges) static_cast<void>(arena_->discard(offset, bytes));
    const std::lock_guard lock(mutex_);
    slabs_.end_discard(discard);
  }
}

}  // namespace reprise
