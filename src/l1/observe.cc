// What operators ask about blocks: where one is and why it left, and what is here in all. See memory_cache.h.

#include <algorithm>

#include "l1/memory_cache.h"

namespace reprise {

namespace st = entry_state;

namespace {

// Entries looked at under one hold of the mutex: tens of microseconds.
constexpr BlockSlot kScanned = 4096;

}  // namespace

std::string_view to_string(DepartureWhy why) {
  switch (why) {
    case DepartureWhy::kEvicted: return "evicted";
    case DepartureWhy::kDeclined: return "declined";
    case DepartureWhy::kFull: return "full";
    case DepartureWhy::kErased: return "erased";
    case DepartureWhy::kPurged: return "purged";
    case DepartureWhy::kRelocated: return "relocated";
    case DepartureWhy::kAbandoned: return "abandoned";
  }
  return "unknown";
}

std::uint32_t MemoryCache::seconds() const {
  if (options_.observe == nullptr) return 0;
  const auto since = options_.observe->now().time_since_epoch();
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(since).count());
}

void MemoryCache::note_departure(BlockSlot slot, DepartureWhy why) {
  const BlockEntry& entry = entries_[slot];
  departures_->note(identity_hash(entry.ns, entry.key), why, seconds());
}

MemoryCache::Look MemoryCache::look(const NamespaceId& ns, const BlockKey& key) const {
  const std::uint64_t hash = identity_hash(ns, key);
  const std::uint32_t now = seconds();
  // Another thread's publish may have read the clock a moment later.
  const auto since = [now](std::uint32_t then) { return std::chrono::seconds(now > then ? now - then : 0); };
  Look look;
  const std::lock_guard lock(mutex_);
  if (departures_) {
    if (const auto left = departures_->find(hash)) look.left = Look::Left{left->why, since(left->when)};
  }
  const BlockSlot slot = find(ns, key, hash);
  if (slot == kNoSlot) return look;
  const BlockEntry& entry = entries_[slot];
  const std::uint32_t state = entry.state.load(std::memory_order_acquire);
  const bool visible = (state & st::kVisible) != 0;
  look.where = visible ? Look::Where::kResident : Look::Where::kFilling;
  look.bytes = entry.bytes;
  look.saved = (state & st::kSaved) != 0;
  look.outbound = (state & st::kOutbound) != 0;
  if (visible) look.memory = pinned(slot).data;
  const std::uint32_t count = state & st::kCount;
  look.readers = count - (look.outbound && count > 0 ? 1 : 0);
  if (visible && !observed_.empty()) {
    look.age = since(observed_[slot].stored.load(std::memory_order_relaxed));
    look.hits = observed_[slot].hits.load(std::memory_order_relaxed);
  }
  return look;
}

DepartureCounts MemoryCache::departures() const {
  const std::lock_guard lock(mutex_);
  return departures_ ? departures_->counts() : DepartureCounts{};
}

BlockSlot MemoryCache::scan(BlockSlot from, std::vector<Scanned>& found) const {
  found.clear();
  found.reserve(kScanned);
  const std::lock_guard lock(mutex_);
  const BlockSlot end = from < entries_used_ ? from + std::min(kScanned, entries_used_ - from) : from;
  for (BlockSlot slot = from; slot < end; ++slot) {
    const BlockEntry& entry = entries_[slot];
    const std::uint32_t state = entry.state.load(std::memory_order_acquire);
    if ((state & (st::kVisible | st::kFilling | st::kDoomed)) == 0) continue;
    found.push_back({{entry.ns, entry.key}, entry.bytes, (state & st::kVisible) != 0});
  }
  return end < entries_used_ ? end : kNoSlot;
}

}  // namespace reprise
