// Memory for a block when its size has none left: a slab of another size is emptied. See memory_cache.h.
//
// Blocks of that slab are copied into free chunks of their own size where there are any, without the mutex and while
// they stay readable; the rest is dropped. A slab with a block that somebody holds is left alone.

#include <vector>

#include "base/kernels.h"
#include "l1/memory_cache.h"

namespace reprise {

namespace st = entry_state;

namespace {

constexpr int kSlabsTried = 16;     // candidates looked at under one hold of the mutex
constexpr int kSlabsEmptied = 256;  // for one block; a block of many slabs needs many

}  // namespace

struct MemoryCache::Relocation {
  struct Move {
    BlockSlot slot;
    std::uint64_t from, to;
    std::uint32_t bytes;
  };
  std::uint64_t wanted_bytes = 0;
  std::uint32_t slab = 0;
  bool kept = false;  // a block stays where it is
  std::vector<Move> moves;
};

bool MemoryCache::give_memory(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  if (entry.offset != kNoChunk) return true;  // only the caller, who holds it, can change that
  for (int emptied = 0; emptied < kSlabsEmptied; ++emptied) {
    {
      const std::lock_guard lock(mutex_);
      apply_leftovers();
      const std::optional<std::uint64_t> offset = slabs_.allocate(entry.bytes, slot);
      if (offset) {
        entry.offset = *offset;
        return true;
      }
    }
    Relocation plan;
    plan.wanted_bytes = entry.bytes;
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
  free_entry(slot);
  return true;
}

bool MemoryCache::plan_relocation(Relocation& plan) {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t> left_alone;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
  bool planned = false;
  for (int tried = 0; tried < kSlabsTried && !planned; ++tried) {
    const auto victim = slabs_.emptiest_slab(plan.wanted_bytes);
    if (!victim) break;
    live.clear();
    slabs_.live_blocks(victim->slab, live);
    slabs_.close(victim->slab);
    bool held = false;
    for (const auto& [offset, slot] : live) {
      const std::uint32_t state = entries_[slot].state.load(std::memory_order_relaxed);
      held = held || (state & st::kCount) != 0 || (state & st::kVisible) == 0;
    }
    if (held) {
      left_alone.push_back(victim->slab);
      continue;
    }
    plan.slab = victim->slab;
    planned = true;
    for (const auto& [offset, slot] : live) {
      const std::uint32_t bytes = entries_[slot].bytes;
      const auto to = slabs_.free_chunks(bytes) > 0 ? slabs_.allocate(bytes, slot) : std::nullopt;
      if (to) {
        entries_[slot].state.fetch_add(1, std::memory_order_acq_rel);
        plan.moves.push_back({slot, offset, *to, bytes});
      } else {
        plan.kept = !drop_for_relocation(slot) || plan.kept;  // a block pinned just now stays, and keeps its slab
      }
    }
  }
  for (const std::uint32_t slab : left_alone) slabs_.reopen(slab);
  return planned;
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
  // Freed with its last block. Otherwise it serves its old size again: closed for ever, its free chunks would be lost.
  if (plan.kept) slabs_.reopen(plan.slab);
}

}  // namespace reprise
