#include "l1/memory_cache.h"

#include <algorithm>
#include <string>

#include "base/kernels.h"

namespace reprise {

namespace st = entry_state;

namespace {

// Keys whose table lines are fetched together. Enough to hide memory latency, few enough to stay in L1.
constexpr std::size_t kGroup = 16;
constexpr std::size_t kTouchQueueBlocks = 64 * 1024;
constexpr std::uint64_t kSlab = 8ULL << 20;
// Smallest block the tables are laid out for; it bounds their address space, not their memory.
constexpr std::uint64_t kSmallestBlock = 256;
constexpr std::uint64_t kSpareEntries = 64 * 1024;

// Room on top of the capacity: the last slab of each size, chunks freed but not yet reused; and, up to a half of it,
// what rounding up to the alignment costs.
std::uint64_t slack(const MemoryCacheOptions& o) {
  return std::max(o.capacity / 8, 4 * kSlab);
}

std::uint64_t slab_limit(const MemoryCacheOptions& o) {
  return o.capacity + o.transit_bytes + slack(o);
}

}  // namespace

Result<std::shared_ptr<MemoryCache>> MemoryCache::create(const MemoryCacheOptions& options,
                                                         std::unique_ptr<EvictionPolicy> policy) {
  const std::uint64_t slab_bytes = slab_limit(options);
  ArenaOptions arena_options;
  arena_options.reserve_bytes = SlabAllocator::arena_bytes_for(slab_bytes);
  arena_options.populate_bytes = options.capacity;
  arena_options.kind = options.memory;
  arena_options.huge_pages = options.huge_pages;
  arena_options.populate = options.populate;
  auto arena = Arena::create(arena_options);
  if (!arena) return std::unexpected(arena.error());
  auto cache = std::shared_ptr<MemoryCache>(new MemoryCache(options, std::move(*arena), slab_bytes, std::move(policy)));
  if (options.observe != nullptr && (cache->observed_.empty() || !cache->departures_->ready())) {
    return fail(ErrorCode::kIo, "could not reserve address space for what is observed");
  }
  if (cache->entries_.empty()) return fail(ErrorCode::kIo, "could not reserve address space for the block table");
  return cache;
}

MemoryCache::MemoryCache(const MemoryCacheOptions& options, std::unique_ptr<Arena> arena, std::uint64_t slab_bytes,
                         std::unique_ptr<EvictionPolicy> policy)
    : options_(options),
      arena_(std::move(arena)),
      entries_(std::min<std::uint64_t>((options.capacity + options.transit_bytes) / kSmallestBlock + kSpareEntries,
                                       SlabAllocator::kMaxOwner)),
      touches_(kTouchQueueBlocks),
      observed_(options.observe != nullptr ? Table<Observed>(entries_.size()) : Table<Observed>()),
      policy_(std::move(policy)),
      slabs_(SlabOptions{arena_->size(), slab_bytes, options.alignment}),
      chunk_limit_(options.capacity + slack(options) / 2),
      departures_(options.observe != nullptr ? std::make_unique<Departures>() : nullptr) {
  touched_scratch_.reserve(kTouchQueueBlocks);
}

MemoryCache::~MemoryCache() = default;

// ---- Lookup: no lock. ----

MemoryCache::Hold MemoryCache::try_pin(BlockSlot slot, const NamespaceId& ns, const BlockKey& key) {
  BlockEntry& entry = entries_[slot];
  const std::uint32_t seen = entry.state.fetch_add(1, std::memory_order_acquire);
  if ((seen & st::kVisible) != 0 && (seen & st::kClaimed) == 0) {
    if (entry.key == key && entry.ns == ns) return Hold::kHeld;
    unpin(slot);
    return Hold::kNo;
  }
  unpin(slot);
  return (seen & st::kVisible) != 0 ? Hold::kRetry : Hold::kNo;
}

void MemoryCache::unpin(BlockSlot slot) {
  const std::uint32_t before = entries_[slot].state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & st::kCount) == 1 && (before & (st::kAside | st::kDoomed | st::kFilling)) != 0) push_leftover(slot);
}

void MemoryCache::unpin_all(std::span<const PinnedBlock> blocks) {
  constexpr std::size_t kAhead = 16;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (i + kAhead < blocks.size() && blocks[i + kAhead].slot != kNoSlot) {
      __builtin_prefetch(&entries_[blocks[i + kAhead].slot], 1);
    }
    if (blocks[i].slot != kNoSlot) unpin(blocks[i].slot);
  }
}

void MemoryCache::push_leftover(BlockSlot slot) {
  BlockEntry& entry = entries_[slot];
  if ((entry.state.fetch_or(st::kQueued, std::memory_order_acq_rel) & st::kQueued) != 0) return;
  BlockSlot head = leftovers_.load(std::memory_order_relaxed);
  do {
    entry.next = head;
  } while (!leftovers_.compare_exchange_weak(head, slot, std::memory_order_release, std::memory_order_relaxed));
}

PinnedBlock MemoryCache::pinned(BlockSlot slot) const {
  const BlockEntry& entry = entries_[slot];
  return {arena_->data() + entry.offset, entry.bytes, slot};
}

BlockSlot MemoryCache::find_and_pin(const NamespaceId& ns, const BlockKey& key, std::uint64_t hash) {
  for (;;) {
    bool again = false;
    BlockIndex::Probe probe(index_, hash);
    for (BlockSlot slot = probe.next(); slot != kNoSlot; slot = probe.next()) {
      const Hold hold = try_pin(slot, ns, key);
      if (hold == Hold::kHeld) return slot;
      again = again || hold == Hold::kRetry;
    }
    if (!again) return kNoSlot;
    __builtin_ia32_pause();  // being moved: a matter of nanoseconds
  }
}

namespace {

// Visits the keys in groups whose index and entry lines were fetched ahead. `visit(i, hash, first)` gets the first
// candidate slot and says whether to go on.
template <typename Visit>
void for_each_key(const BlockIndex& index, Table<BlockEntry>& entries, const NamespaceId& ns,
                  std::span<const BlockKey> keys, Visit visit) {
  const BlockIndex::Reader reader(index);
  std::uint64_t hashes[kGroup];
  BlockSlot first[kGroup];
  for (std::size_t base = 0; base < keys.size(); base += kGroup) {
    const std::size_t n = std::min(kGroup, keys.size() - base);
    for (std::size_t i = 0; i < n; ++i) {
      hashes[i] = identity_hash(ns, keys[base + i]);
      reader.prefetch(hashes[i]);
    }
    for (std::size_t i = 0; i < n; ++i) {
      first[i] = reader.probe(hashes[i]).next();
      if (first[i] != kNoSlot) __builtin_prefetch(&entries[first[i]], 1);
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (!visit(base + i, hashes[i], first[i])) return;
    }
  }
}

}  // namespace

std::size_t MemoryCache::pin_run(const NamespaceId& ns, std::span<const BlockKey> keys, Pins& pins) {
  std::size_t found = 0;
  for_each_key(index_, entries_, ns, keys, [&](std::size_t i, std::uint64_t hash, BlockSlot first) {
    BlockSlot slot = first;
    if (slot == kNoSlot || try_pin(slot, ns, keys[i]) != Hold::kHeld) {
      slot = slot == kNoSlot ? kNoSlot : find_and_pin(ns, keys[i], hash);
    }
    if (slot == kNoSlot) return false;
    pins.adopt(pinned(slot));
    ++found;
    return true;
  });
  return found;
}

std::size_t MemoryCache::pin_each(const NamespaceId& ns, std::span<const BlockKey> keys, Pins& pins) {
  std::size_t found = 0;
  for_each_key(index_, entries_, ns, keys, [&](std::size_t i, std::uint64_t hash, BlockSlot first) {
    const BlockSlot slot = first == kNoSlot ? kNoSlot : find_and_pin(ns, keys[i], hash);
    pins.adopt(slot == kNoSlot ? PinnedBlock{} : pinned(slot));
    found += slot != kNoSlot ? 1 : 0;
    return true;
  });
  return found;
}

bool MemoryCache::has_all(const NamespaceId& ns, std::span<const BlockKey> keys) {
  bool all = true;
  for_each_key(index_, entries_, ns, keys, [&](std::size_t i, std::uint64_t hash, BlockSlot first) {
    const BlockSlot slot = first == kNoSlot ? kNoSlot : find_and_pin(ns, keys[i], hash);
    if (slot != kNoSlot) unpin(slot);
    all = slot != kNoSlot;
    return all;
  });
  return all;
}

MemoryCache::Run MemoryCache::match_run(const NamespaceId& ns, std::span<const BlockKey> keys) {
  Run run;
  bool ended = false;
  for_each_key(index_, entries_, ns, keys, [&](std::size_t i, std::uint64_t hash, BlockSlot first) {
    const BlockSlot slot = first == kNoSlot ? kNoSlot : find_and_pin(ns, keys[i], hash);
    if (slot == kNoSlot) {
      ended = true;
      return true;
    }
    unpin(slot);
    if (!ended) ++run.blocks;
    run.more_behind = ended;
    return !ended;
  });
  return run;
}

void MemoryCache::match_each(const NamespaceId& ns, std::span<const BlockKey> keys, std::span<bool> present) {
  for_each_key(index_, entries_, ns, keys, [&](std::size_t i, std::uint64_t hash, BlockSlot first) {
    const BlockSlot slot = first == kNoSlot ? kNoSlot : find_and_pin(ns, keys[i], hash);
    present[i] = slot != kNoSlot;
    if (slot != kNoSlot) unpin(slot);
    return true;
  });
}

// ---- Touches. ----

Outflow MemoryCache::touch(std::span<const PinnedBlock> chain) {
  Outflow out;
  if (chain.empty()) return out;
  if (!observed_.empty()) {
    for (const PinnedBlock& block : chain) {
      if (block.slot != kNoSlot) observed_[block.slot].hits.fetch_add(1, std::memory_order_relaxed);
    }
  }
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) {
    std::vector<Touched> record;
    record.reserve(chain.size());
    for (const PinnedBlock& block : chain) {
      if (block.slot != kNoSlot) record.push_back({block.slot, entries_[block.slot].generation});
    }
    touches_.push(record);
    return out;
  }
  settle();
  slots_scratch_.clear();
  for (const PinnedBlock& block : chain) {
    // A block pinned while it was evicted for its outbound copy is not the policy's any more.
    if (block.slot != kNoSlot && (entries_[block.slot].state.load(std::memory_order_relaxed) & st::kVisible) != 0) {
      slots_scratch_.push_back(block.slot);
    }
  }
  policy_->touch(slots_scratch_, hot_);
  collect_hot(out);
  return out;
}

void MemoryCache::apply_touches() {
  touches_.take(touched_scratch_);
  slots_scratch_.clear();
  for (const Touched& touched : touched_scratch_) {
    if (touched.slot == kNoSlot) {
      policy_->touch(slots_scratch_, hot_);
      slots_scratch_.clear();
      continue;
    }
    const BlockEntry& entry = entries_[touched.slot];
    if (entry.generation == touched.generation && (entry.state.load(std::memory_order_relaxed) & st::kVisible) != 0) {
      slots_scratch_.push_back(touched.slot);
    }
  }
}

void MemoryCache::apply_leftovers() {
  BlockSlot slot = leftovers_.exchange(kNoSlot, std::memory_order_acquire);
  while (slot != kNoSlot) {
    BlockEntry& entry = entries_[slot];
    const BlockSlot next = entry.next;
    const std::uint32_t seen = entry.state.fetch_and(~st::kQueued, std::memory_order_acq_rel);
    const bool unheld = (seen & st::kCount) == 0;
    if ((seen & st::kDoomed) != 0 && unheld) {
      transit_used_.fetch_sub(entry.bytes, std::memory_order_relaxed);
      free_entry(slot);
    } else if ((seen & st::kFilling) != 0 && unheld) {  // given up before it was complete
      policy_->remove(slot);
      unlink(slot);
      count_out(entry.bytes);
      departed(slot, DepartureWhy::kAbandoned);
      free_entry(slot);
    } else if ((seen & st::kAside) != 0) {
      entry.state.fetch_and(~st::kAside, std::memory_order_acq_rel);
      policy_->restore(slot);
    }
    slot = next;
  }
}

void MemoryCache::settle() {
  apply_leftovers();
  apply_touches();
}

void MemoryCache::collect_hot(Outflow& out) {
  if (options_.keep_hot) {
    for (const BlockSlot slot : hot_) {
      BlockEntry& entry = entries_[slot];
      const std::uint32_t seen = entry.state.load(std::memory_order_relaxed);
      if ((seen & st::kVisible) == 0 || (seen & (st::kOutbound | st::kSaved)) != 0) continue;
      if ((entry.state.fetch_or(st::kOutbound, std::memory_order_acq_rel) & st::kOutbound) != 0) continue;
      entry.state.fetch_add(1, std::memory_order_relaxed);
      if (out.hot.empty()) out.hot = Pins(shared_from_this());
      out.hot.adopt(pinned(slot));
    }
  }
  hot_.clear();
}

// ---- Outbound. ----

Pins MemoryCache::begin_outbound(std::span<const PinnedBlock> blocks) {
  Pins pins(shared_from_this());
  for (const PinnedBlock& block : blocks) {
    if (block.slot == kNoSlot) continue;
    auto& state = entries_[block.slot].state;
    if ((state.load(std::memory_order_relaxed) & st::kSaved) != 0) continue;
    // The count comes first: kOutbound promises that one of the counts is the write's.
    state.fetch_add(1, std::memory_order_relaxed);
    if ((state.fetch_or(st::kOutbound, std::memory_order_acq_rel) & st::kOutbound) != 0) {
      unpin(block.slot);
      continue;
    }
    pins.adopt(block);
  }
  return pins;
}

void MemoryCache::end_outbound(const PinnedBlock& block, bool saved) {
  auto& state = entries_[block.slot].state;
  if (saved) state.fetch_or(st::kSaved, std::memory_order_acq_rel);
  state.fetch_and(~st::kOutbound, std::memory_order_acq_rel);
  unpin(block.slot);
}

BlockId MemoryCache::id(const PinnedBlock& block) const {
  const BlockEntry& entry = entries_[block.slot];
  return {entry.ns, entry.key};
}

std::uint64_t MemoryCache::checksum_of(const PinnedBlock& block) {
  std::atomic_ref<std::uint64_t> kept(entries_[block.slot].checksum);
  std::uint64_t value = kept.load(std::memory_order_relaxed);
  if (value == 0) {
    value = checksum({block.data, block.bytes});
    kept.store(value, std::memory_order_relaxed);
  }
  return value;
}

void MemoryCache::add_stats(CacheStats& stats) const {
  const std::lock_guard lock(mutex_);
  const auto policy = policy_->footprint();
  stats.l1.name = "l1";
  stats.l1.capacity_bytes = options_.capacity;
  stats.l1.used_bytes = used_bytes_;
  stats.l1.blocks = resident_;
  stats.l1.evictions = evictions_;
  stats.l1.writes = stored_.load(std::memory_order_relaxed);
  stats.l1.write_bytes = stored_bytes_.load(std::memory_order_relaxed);
  stats.touches_dropped = touches_.dropped();
  stats.metadata_bytes =
      policy.scaling + index_.bytes() + entries_used_ * sizeof(BlockEntry) + slabs_.report().metadata_bytes;
  stats.fixed_bytes = policy.fixed + touches_.bytes();
  if (departures_) {
    stats.metadata_bytes += entries_used_ * sizeof(Observed);
    stats.fixed_bytes += Departures::bytes();
  }
  stats.populated = arena_->populated();
}

void Pins::append(Pins&& other) {
  if (other.empty()) return;
  if (blocks_.empty()) {
    *this = std::move(other);
    return;
  }
  blocks_.insert(blocks_.end(), other.blocks_.begin(), other.blocks_.end());
  other.blocks_.clear();
}

void Pins::repin(std::span<const PinnedBlock> blocks) {
  for (const PinnedBlock& block : blocks) {
    if (block.slot != kNoSlot) cache_->repin(block);
    blocks_.push_back(block);
  }
}

void Pins::truncate(std::size_t n) {
  if (n >= blocks_.size()) return;
  if (!given_back_) cache_->unpin_all(std::span(blocks_).subspan(n));
  blocks_.resize(n);
}

void Pins::give_back() {
  if (!given_back_) cache_->unpin_all(blocks_);
  given_back_ = true;
}

}  // namespace reprise
