// How blocks become resident, and how others make room for them. See memory_cache.h.

#include <algorithm>
#include <string>

#include "base/kernels.h"
#include "l1/memory_cache.h"

namespace reprise {

namespace st = entry_state;

namespace {

// Newcomers, or blocks to erase, that a single hold of the policy mutex works on: bounds how long others wait for it.
constexpr std::size_t kBatch = 1024;

}  // namespace

/// Says whether a block may go now, and claims it if so.
class MemoryCache::Filter final : public VictimFilter {
 public:
  explicit Filter(MemoryCache& cache) : cache_(cache) {}

  bool accept(BlockSlot slot) override {
    auto& state = cache_.entries_[slot].state;
    std::uint32_t seen = state.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t count = seen & st::kCount;
      if ((seen & st::kNewcomer) != 0) return true;
      const bool only_outbound = count == 1 && (seen & st::kOutbound) != 0 && cache_.transit_room(slot);
      const bool free = (count == 0 || only_outbound) && (seen & (st::kClaimed | st::kFilling)) == 0;
      const std::uint32_t next = free ? (seen & ~(st::kVisible | st::kAside)) : (seen | st::kAside);
      if (state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire)) {
        refused_ = refused_ || !free;
        return free;
      }
    }
  }
  /// True once a block that the policy would have evicted was held by somebody.
  [[nodiscard]] bool refused() const { return refused_; }

 private:
  MemoryCache& cache_;
  bool refused_ = false;
};

bool MemoryCache::transit_room(BlockSlot slot) const {
  return transit_used_.load(std::memory_order_relaxed) + entries_[slot].bytes <= options_.transit_bytes;
}

// ---- Entries. ----

BlockSlot MemoryCache::find(const NamespaceId& ns, const BlockKey& key, std::uint64_t hash) const {
  BlockIndex::Probe probe(index_, hash);
  for (BlockSlot slot = probe.next(); slot != kNoSlot; slot = probe.next()) {
    if (entries_[slot].key == key && entries_[slot].ns == ns) return slot;
  }
  return kNoSlot;
}

BlockSlot MemoryCache::new_entry(const NamespaceId& ns, const BlockKey& key, std::uint32_t bytes) {
  BlockSlot slot = free_head_;
  if (slot != kNoSlot) {
    free_head_ = static_cast<BlockSlot>(entries_[slot].offset);
    --free_entries_;
  } else if (entries_used_ < entries_.size()) {
    slot = entries_used_++;
  } else {
    return kNoSlot;
  }
  BlockEntry& entry = entries_[slot];
  entry.key = key;
  entry.ns = ns;
  entry.bytes = bytes;
  entry.checksum = 0;
  entry.offset = kNoChunk;
  return slot;
}

void MemoryCache::free_entry(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  if (entry.offset != kNoChunk) slabs_.free(entry.offset);
  ++entry.generation;
  entry.offset = free_head_;
  free_head_ = slot;
  ++free_entries_;
  entry.state.fetch_and(st::kCount | st::kQueued, std::memory_order_acq_rel);
}

void MemoryCache::unlink(BlockSlot slot) {
  const BlockEntry& entry = entries_[slot];
  index_.erase(identity_hash(entry.ns, entry.key), slot);
}

void MemoryCache::grow_tables(std::uint64_t block_bytes, std::size_t newcomers) {
  const std::uint64_t wanted = std::min<std::uint64_t>(
      std::max<std::uint64_t>(entries_used_, entries_used_ - free_entries_ + newcomers), entries_.size());
  if (wanted <= table_slots_) return;
  // The first block tells how many will fit, resident and in transit. Smaller ones that come later make the tables grow
  // by doubling, never by less: every table the index had is kept.
  const std::uint64_t size = std::max<std::uint64_t>(block_bytes, 1);
  const std::uint64_t fitting = std::max<std::uint64_t>(options_.capacity / size, 1);
  const std::uint64_t grown =
      table_slots_ == 0 ? fitting + options_.transit_bytes / size : std::max(2 * table_slots_, wanted);
  const std::uint64_t slots = std::min<std::uint64_t>(std::max(grown, wanted) + kBatch, entries_.size());
  expected_blocks_ = std::max(expected_blocks_, std::min(fitting, slots));
  policy_->grow(static_cast<std::uint32_t>(slots), expected_blocks_);
  index_.grow(slots, [this](const BlockIndex::Insert& insert) {
    for (BlockSlot slot = 0; slot < entries_used_; ++slot) {
      const BlockEntry& entry = entries_[slot];
      const std::uint32_t state = entry.state.load(std::memory_order_relaxed);
      if ((state & (st::kVisible | st::kFilling)) != 0) insert(identity_hash(entry.ns, entry.key), slot);
    }
  });
  table_slots_ = slots;
}

void MemoryCache::count_in(std::uint32_t bytes) {
  used_bytes_ += bytes;
  chunk_bytes_ += chunk_of(bytes);
  ++resident_;
}

void MemoryCache::count_out(std::uint32_t bytes) {
  used_bytes_ -= bytes;
  chunk_bytes_ -= chunk_of(bytes);
  --resident_;
}

void MemoryCache::doom(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  transit_used_.fetch_add(entry.bytes, std::memory_order_relaxed);
  entry.state.fetch_and(~(st::kVisible | st::kAside), std::memory_order_acq_rel);
  // Whoever held it may have let go before the flag was there; then nobody else would free it.
  if ((entry.state.fetch_or(st::kDoomed, std::memory_order_acq_rel) & st::kCount) == 0) push_leftover(slot);
}

void MemoryCache::evict(BlockSlot slot, Outflow& out) {
  BlockEntry& entry = entries_[slot];
  unlink(slot);
  count_out(entry.bytes);
  ++evictions_;
  departed(slot, DepartureWhy::kEvicted);
  const std::uint32_t state = entry.state.load(std::memory_order_acquire);
  if (options_.keep_evicted && (state & (st::kSaved | st::kOutbound)) == 0) {
    if (transit_room(slot)) {
      entry.state.fetch_add(1, std::memory_order_acq_rel);
      doom(slot);
      if (out.evicted.empty()) out.evicted = Pins(shared_from_this());
      out.evicted.adopt(pinned(slot));
      return;
    }
    transit_dropped_.fetch_add(1, std::memory_order_relaxed);
  }
  // With a count, it is being written to L2, or was when the filter looked: then those may still read it who took it
  // over from the writer (`repin`) in the meantime. Its memory goes with the last of them.
  if ((state & (st::kOutbound | st::kCount)) != 0) {
    doom(slot);
  } else {
    free_entry(slot);
  }
}

// ---- Admission. ----

struct MemoryCache::Batch {
  const Namespace& ns;
  std::span<const BlockKey> keys;  // the whole chain
  std::size_t from, to, end;       // this batch offers [from, to), later ones [to, end)
  bool rooted;
  std::vector<BlockSlot>& parents;  // resident, contiguous up to `from`
  std::span<Fate> fates;            // of [from, to)
  std::vector<BlockSlot> slots;     // of [from, to); kNoSlot where not admitted
  std::vector<bool> hot;            // of [from, to), with keep_hot
  Pins& held;                       // takes the parents of this batch that the next one needs
  Outflow& out;
  std::vector<NewBlock> run;  // reserved outside the mutex
  bool short_of_pages = false;
};

Admission MemoryCache::admit(const Namespace& ns, std::span<const BlockKey> keys, std::size_t from, std::size_t to,
                             bool rooted) {
  Admission result;
  result.fates.assign(to - from, Fate::kHole);
  result.filling = Pins(shared_from_this());
  if (to == from) return result;
  // Parents are looked up and held outside the mutex; only the order of the newcomers is decided under it.
  Pins held(shared_from_this());
  held.reserve(to - from > kBatch ? to : from);
  const bool whole = pin_run(ns.id(), keys.first(from), held) == from;
  if (rooted && !whole) return result;
  std::vector<BlockSlot> parents;
  parents.reserve(to);
  if (whole) {
    for (const PinnedBlock& block : held.blocks()) parents.push_back(block.slot);
  }
  for (std::size_t at = from; at < to;) {
    const std::size_t end = std::min(to, at + kBatch);
    Batch batch{ns, keys, at,   end,        to, rooted, parents, std::span(result.fates).subspan(at - from, end - at),
                {}, {},   held, result.out, {}, false};
    batch.slots.assign(end - at, kNoSlot);
    batch.run.reserve(end - at);
    batch.hot.assign(end - at, false);
    result.filling.reserve(result.filling.size() + (end - at));
    admit_batch(batch);
    if (batch.short_of_pages) give_pages_back();
    for (std::size_t i = 0; i < batch.slots.size(); ++i) {
      if (batch.fates[i] != Fate::kAdmitted) continue;
      if (!give_memory(batch.slots[i])) {
        batch.fates[i] = Fate::kFull;
        unpin(batch.slots[i]);  // given up: leaves the policy when leftovers are applied
        continue;
      }
      result.filling.adopt(pinned(batch.slots[i]));
      result.hot.push_back(batch.hot[i]);
    }
    at = end;
    if (std::ranges::any_of(batch.fates, [](Fate f) { return f != Fate::kAdmitted && f != Fate::kPresent; })) {
      parents.clear();
      if (!rooted) continue;
      std::fill(result.fates.begin() + static_cast<std::ptrdiff_t>(end - from), result.fates.end(), Fate::kDeclined);
      break;
    }
  }
  return result;
}

void MemoryCache::admit_batch(Batch& batch) {
  const std::lock_guard lock(mutex_);
  settle();
  const auto bytes = static_cast<std::uint32_t>(batch.ns.block_bytes());
  grow_tables(bytes, batch.to - batch.from);
  std::vector<NewBlock>& run = batch.run;
  std::vector<BlockSlot>& parents = batch.parents;
  // Held, so they are still these blocks; but `erase` may have taken them from the policy before the mutex was ours.
  const bool erased = std::ranges::any_of(parents, [this](BlockSlot slot) {
    return (entries_[slot].state.load(std::memory_order_relaxed) & (st::kVisible | st::kFilling)) == 0;
  });
  if (erased) {
    parents.clear();
    if (batch.rooted) return;  // the fates say kHole already
  }
  const bool last = batch.to == batch.end;
  const auto flush_run = [&] {
    if (run.empty()) return;
    policy_->insert(parents, run, hot_);
    for (const NewBlock& block : run) parents.push_back(block.slot);
    run.clear();
  };
  for (std::size_t i = 0; i < batch.slots.size(); ++i) {
    const BlockKey& key = batch.keys[batch.from + i];
    const std::uint64_t hash = identity_hash(batch.ns.id(), key);
    const BlockSlot there = find(batch.ns.id(), key, hash);
    if (there != kNoSlot) {
      flush_run();
      parents.push_back(there);
      batch.fates[i] = Fate::kPresent;
      if (!last) {  // or it could be another block by the time the next batch names it as a parent
        repin({nullptr, 0, there});
        batch.held.adopt({nullptr, 0, there});
      }
      continue;
    }
    const BlockSlot slot = new_entry(batch.ns.id(), key, bytes);
    if (slot == kNoSlot) {
      std::fill(batch.fates.begin() + static_cast<std::ptrdiff_t>(i), batch.fates.end(), Fate::kFull);
      break;
    }
    entries_[slot].state.fetch_or(st::kNewcomer, std::memory_order_acq_rel);
    entries_[slot].checksum = i;
    run.push_back({slot, hash, bytes});
    batch.slots[i] = slot;
    batch.fates[i] = Fate::kAdmitted;
    count_in(bytes);
  }
  flush_run();
  decline_surplus(batch);
  for (std::size_t i = 0; i < batch.slots.size(); ++i) {
    const BlockSlot slot = batch.slots[i];
    if (slot == kNoSlot) continue;
    BlockEntry& entry = entries_[slot];
    const BlockKey& key = batch.keys[batch.from + i];
    const std::uint64_t hash = identity_hash(batch.ns.id(), key);
    if (find(batch.ns.id(), key, hash) != kNoSlot) {  // the chain names this block twice
      policy_->remove(slot);
      give_up(batch, slot, Fate::kPresent);
      continue;
    }
    entry.checksum = 0;
    entry.state.fetch_add(1, std::memory_order_acq_rel);
    entry.state.fetch_or(st::kFilling, std::memory_order_acq_rel);
    entry.state.fetch_and(~st::kNewcomer, std::memory_order_acq_rel);
    entry.offset = slabs_.allocate(bytes, slot).value_or(kNoChunk);
    index_.insert(hash, slot);
    batch.hot[i] = options_.keep_hot && policy_->is_hot(slot);
  }
  batch.short_of_pages = slabs_.wants_discard();
  collect_hot(batch.out);
}

void MemoryCache::give_up(Batch& batch, BlockSlot slot, Fate fate) {
  const std::size_t at = entries_[slot].checksum;
  batch.fates[at] = fate;
  batch.slots[at] = kNoSlot;
  count_out(entries_[slot].bytes);
  if (fate != Fate::kPresent) departed(slot, fate == Fate::kFull ? DepartureWhy::kFull : DepartureWhy::kDeclined);
  free_entry(slot);
}

void MemoryCache::decline_surplus(Batch& batch) {
  Filter filter(*this);
  while (used_bytes_ > options_.capacity || chunk_bytes_ > chunk_limit_) {
    const std::optional<BlockSlot> victim = policy_->victim(filter);
    if (victim) {
      const bool newcomer = (entries_[*victim].state.load(std::memory_order_relaxed) & st::kNewcomer) != 0;
      if (newcomer) {
        give_up(batch, *victim, filter.refused() ? Fate::kFull : Fate::kDeclined);
      } else {
        evict(*victim, batch.out);
      }
      continue;
    }
    // Everything that is left is held: the deepest newcomers go.
    const auto last = std::find_if(batch.slots.rbegin(), batch.slots.rend(), [](BlockSlot s) { return s != kNoSlot; });
    if (last == batch.slots.rend()) return;
    policy_->remove(*last);
    give_up(batch, *last, Fate::kFull);
  }
}

void MemoryCache::publish(const PinnedBlock& block, std::uint64_t checksum, bool saved) {
  BlockEntry& entry = entries_[block.slot];
  entry.checksum = checksum;
  if (!observed_.empty()) {
    observed_[block.slot].stored.store(seconds(), std::memory_order_relaxed);
    observed_[block.slot].hits.store(0, std::memory_order_relaxed);
  }
  if (saved) entry.state.fetch_or(st::kSaved, std::memory_order_relaxed);
  // One step from filling to visible: in between, an unpin would take the block for given up.
  std::uint32_t seen = entry.state.load(std::memory_order_relaxed);
  while (!entry.state.compare_exchange_weak(seen, (seen & ~st::kFilling) | st::kVisible, std::memory_order_acq_rel)) {
  }
  stored_.fetch_add(1, std::memory_order_relaxed);
  stored_bytes_.fetch_add(entry.bytes, std::memory_order_relaxed);
}

std::size_t MemoryCache::erase(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why) {
  std::size_t erased = 0;
  for (std::size_t end = keys.size(); end > 0;) {
    const std::size_t begin = end - std::min(end, kBatch);
    erased += erase_batch(ns, keys.subspan(begin, end - begin), why);
    end = begin;
  }
  return erased;
}

std::size_t MemoryCache::erase_batch(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why) {
  const std::lock_guard lock(mutex_);
  settle();
  std::size_t erased = 0;
  for (std::size_t i = keys.size(); i-- > 0;) {
    const BlockSlot slot = find(ns, keys[i], identity_hash(ns, keys[i]));
    if (slot == kNoSlot) continue;
    BlockEntry& entry = entries_[slot];
    if ((entry.state.load(std::memory_order_acquire) & st::kFilling) != 0) continue;
    policy_->remove(slot);
    unlink(slot);
    count_out(entry.bytes);
    ++erased;
    departed(slot, why);
    doom(slot);
  }
  apply_leftovers();
  return erased;
}

std::optional<PinnedBlock> MemoryCache::allocate_transit(const BlockId& id, std::uint32_t bytes) {
  BlockSlot slot = kNoSlot;
  {
    const std::lock_guard lock(mutex_);
    apply_leftovers();
    if (transit_used_.load(std::memory_order_relaxed) + bytes > options_.transit_bytes) return std::nullopt;
    grow_tables(bytes, 1);
    slot = new_entry(id.ns, id.key, bytes);
    if (slot == kNoSlot) return std::nullopt;
    transit_used_.fetch_add(bytes, std::memory_order_relaxed);
    entries_[slot].state.fetch_or(st::kDoomed, std::memory_order_acq_rel);
    entries_[slot].state.fetch_add(1, std::memory_order_acq_rel);
  }
  if (!give_memory(slot)) {
    unpin(slot);
    return std::nullopt;
  }
  return pinned(slot);
}

}  // namespace reprise
